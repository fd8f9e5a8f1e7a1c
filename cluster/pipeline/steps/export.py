"""export: a versioned SavedModel that takes raw tf.Examples, checked against the trainer's model."""

from __future__ import annotations

from cluster.pipeline.config import Pipeline
from cluster.pipeline.step import Counts, Step, StepContext, StepResult

__all__ = ["STEP"]

_OUT = "model"


def _run(context: StepContext) -> StepResult:
    from cluster.pipeline.user_module import user_function
    from engine import Dataset
    from trainers.export_checkpoint import export_checkpoint

    pipeline = context.pipeline
    config, train = pipeline.export, pipeline.train
    assert config is not None and train is not None
    raw = Dataset.open(context.raw("train"))
    graph = context.output("analyze", "graph") if "analyze" in context.before else None
    version = export_checkpoint(
        context.output("train", "checkpoints"),
        user_function(pipeline.module, train.build_model),
        str(context.out / _OUT),
        transform_graph=graph,
        hyperparameters=train.hyperparameters,
        use_ema=train.ema_decay is not None,
        raw_feature_spec=raw.feature_spec(),
        label=pipeline.label,
        data_manifest=raw.manifest,
        metrics=context.before["train"].record.info.get("eval_metrics"),
    )
    return StepResult(
        counts=Counts(rows_in=0, rows_out=0),
        outputs={"model": f"{_OUT}/{version.name}", "versions": _OUT},
        notes=(f"SavedModel version {version.name}: raw tf.Examples in, the transform inside",),
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
