"""export: a versioned SavedModel that takes raw tf.Examples, checked against the trainer's model."""

from __future__ import annotations

import dataclasses

from cluster.pipeline.config import Pipeline
from cluster.pipeline.step import Counts, Step, StepContext, StepResult

__all__ = ["STEP"]

_OUT = "model"


def _run(context: StepContext) -> StepResult:
    from cluster.steps import export

    pipeline = context.pipeline
    config, train = pipeline.export, pipeline.train
    assert config is not None and train is not None
    made = export.run(
        dataclasses.replace(config, build_model=train.build_model),
        context.output("train", "checkpoints"),
        pipeline.module,
        context.out / _OUT,
        graph=context.output("analyze", "graph") if "analyze" in context.before else None,
        data=context.raw("eval"),
        metrics=context.before["train"].record.info.get("eval_metrics"),
    )
    version, rows = made.version, made.checked_rows
    notes = [f"SavedModel version {version.name}: raw tf.Examples in, the transform inside"]
    if made.difference is not None:
        notes.append(
            f"checked on {rows:,} rows: its answers are at most {made.difference:.1g} from the trained model's"
        )
    return StepResult(
        counts=Counts(rows_in=rows, rows_out=rows),
        outputs={"model": f"{_OUT}/{version.name}", "versions": _OUT},
        notes=tuple(notes),
    )


def _functions(pipeline: Pipeline) -> tuple[str, ...]:
    assert pipeline.train is not None
    return (pipeline.train.build_model,)


STEP = Step(
    name="export",
    after=("ingest", "analyze", "train"),
    run=_run,
    functions=_functions,
    packages=("tensorflow", "keras"),
)
