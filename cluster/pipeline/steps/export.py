"""export: a versioned SavedModel that takes raw tf.Examples, checked against the trainer's model."""

from __future__ import annotations

from cluster.pipeline.config import Pipeline
from cluster.pipeline.step import Counts, Step, StepContext, StepResult

__all__ = ["STEP"]

_OUT = "model"


def _run(context: StepContext) -> StepResult:
    from cluster.user_code.module import user_function
    from engine import Dataset
    from trainers.export.from_checkpoint import check_export, export_checkpoint, rebuild_model

    pipeline = context.pipeline
    config, train = pipeline.export, pipeline.train
    assert config is not None and train is not None
    raw = Dataset.open(context.raw("eval"))
    graph = context.output("analyze", "graph") if "analyze" in context.before else None
    checkpoints = context.output("train", "checkpoints")
    build_model = user_function(pipeline.module, train.build_model)
    version = export_checkpoint(
        checkpoints,
        build_model,
        str(context.out / _OUT),
        transform_graph=graph,
        raw_feature_spec=raw.feature_spec(),
        metrics=context.before["train"].record.info.get("eval_metrics"),
    )
    rows, notes = 0, [f"SavedModel version {version.name}: raw tf.Examples in, the transform inside"]
    if config.check_rows and graph is not None:
        rows = min(config.check_rows, raw.num_records)
        model, built = rebuild_model(checkpoints, build_model, graph)
        worst = check_export(version, model, raw, graph, rows=rows, pad=built.pad)
        notes.append(f"checked on {rows:,} rows: its answers are at most {worst:.1g} from the trained model's")
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
