"""analyze: the full passes of the user's preprocessing_fn over the train split."""

from __future__ import annotations

from cluster.pipeline.config import Pipeline
from cluster.pipeline.step import Counts, Step, StepContext, StepResult

__all__ = ["STEP", "data_inputs"]

_GRAPH = "graph"


def _run(context: StepContext) -> StepResult:
    from cluster.steps import analyze
    from engine.storage.tree import is_local
    from transforms.profiling.table import shares_lines

    pipeline = context.pipeline
    config = pipeline.analyze
    assert config is not None
    dataset = context.raw("train")
    report = analyze.run(config, dataset, pipeline.module, context.out / _GRAPH, hints=context.text_columns())
    return StepResult(
        counts=Counts(rows_in=dataset.num_records, rows_out=report.records),
        outputs={"graph": _GRAPH},
        notes=(
            f"{report.analyzers} analyzers in {report.phases} full pass{'es' * (report.phases != 1)} on {config.runner}",
            *([] if report.stats is None else [f"statistics: {report.stats}"]),
            *shares_lines(report.label_shares),
        ),
        beside=(report.stats,) if report.stats is not None and is_local(report.stats) else (),
        info={"analyzers": report.analyzers, "phases": report.phases},
    )


def _functions(pipeline: Pipeline) -> tuple[str, ...]:
    assert pipeline.analyze is not None
    return (pipeline.analyze.preprocessing_fn,)


def data_inputs(pipeline: Pipeline) -> dict[str, str]:
    """Returns the fingerprints of the files where the pipeline begins with [data]."""
    if pipeline.data is None:
        return {}
    from cluster.pipeline.input_files import fingerprints

    return fingerprints({split: pipeline.data.source(split) for split in ("train", "eval")})


STEP = Step(
    name="analyze",
    after=("ingest",),
    run=_run,
    functions=_functions,
    inputs=data_inputs,
    packages=("tensorflow", "tensorflow-transform"),
)
