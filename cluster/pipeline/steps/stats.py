"""stats: statistics of the raw rows of both splits, and the schema inferred from each."""

from __future__ import annotations

from cluster.pipeline.config import Pipeline
from cluster.pipeline.step import Counts, Step, StepContext, StepResult
from cluster.pipeline.steps.analyze import data_inputs

__all__ = ["SPLITS", "STEP", "directory_of"]

SPLITS = ("train", "eval")


def directory_of(split: str) -> str:
    """Returns the directory of a split, under TFX's own name."""
    return f"Split-{split}"


def _run(context: StepContext) -> StepResult:
    from cluster.steps import stats
    from transforms.profiling.table import shares_lines, statistics_table

    config = context.pipeline.stats
    assert config is not None
    records, notes, slices = 0, [], 0
    for split in SPLITS:
        report = stats.run(config, context.raw(split), context.out / directory_of(split))
        datasets = report.statistics.datasets
        records, slices = records + report.records, max(slices, len(datasets) - 1)
        notes.append(
            f"{split}: {report.records:,} records, {len(datasets[0].features):,} features in {report.seconds:.1f} s"
        )
        notes += shares_lines(report.label_shares)
        if split == "train":
            notes += statistics_table(datasets[0], show=config.show).splitlines()[1:]
    return StepResult(
        counts=Counts(rows_in=records, rows_out=records),
        outputs={split: directory_of(split) for split in SPLITS},
        notes=tuple(notes),
        info={"slices": slices},
    )


def _inputs(pipeline: Pipeline) -> dict[str, str]:
    from cluster.pipeline.input_files import fingerprint

    assert pipeline.stats is not None
    given = pipeline.stats.schema
    return {**data_inputs(pipeline), **({"schema": fingerprint(given)} if given else {})}


STEP = Step(
    name="stats",
    after=("ingest",),
    run=_run,
    inputs=_inputs,
    packages=("tensorflow-metadata", "tfx-bsl"),
    cosmetic=("show",),
)
