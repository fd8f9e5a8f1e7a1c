"""train: the user's model through a tf.distribute strategy; a killed training goes on at the next record."""

from __future__ import annotations

import dataclasses
from typing import Any

from cluster.pipeline.config import Pipeline
from cluster.pipeline.step import Counts, Step, StepContext, StepResult
from cluster.pipeline.steps.analyze import data_inputs
from cluster.pipeline.steps.transform import check_labels

__all__ = ["CHECKPOINTS", "STEP"]

CHECKPOINTS = "run"  # where a step trains, in its directory


def _run(context: StepContext) -> StepResult:
    from cluster.steps import train

    pipeline = context.pipeline
    config = pipeline.train
    assert config is not None
    data, evaluation, graph = _data(context)
    check_labels(data.schema, pipeline.labels)
    placed = dataclasses.replace(config, directory=str(context.out / CHECKPOINTS), label=pipeline.label)
    result = train.run(placed, pipeline.module, data, eval=evaluation, graph=graph)
    counts = _counts(data.num_records, config.global_batch_size, result.steps)
    resumed = f", resumed at step {result.resumed_from:,}" if result.resumed_from else ""
    return StepResult(
        counts=counts,
        outputs={"checkpoints": CHECKPOINTS},
        notes=(
            f"{result.steps:,} steps of {config.global_batch_size:,} = {result.epochs:.3g} epochs on {config.strategy}{resumed}",
            *([f"eval {_metrics(result.eval_metrics)}"] if result.eval_metrics else []),
        ),
        info={"metrics": _plain(result.metrics), "eval_metrics": _plain(result.eval_metrics), "steps": result.steps},
    )


def _data(context: StepContext) -> tuple[Any, Any, str | None]:
    """Returns the train and eval sets, transformed where the pipeline transforms, and the transform graph."""
    from engine import Dataset

    if "transform" in context.before:
        paths = [context.output("transform", split) for split in ("train", "eval")]
        return *map(Dataset.open, paths), context.output("analyze", "graph")  # type: ignore[return-value]
    return context.raw("train"), context.raw("eval"), None


def _counts(num_records: int, batch: int, steps: int) -> Counts:
    """Rows of all epochs: what was trained on, and what the last, smaller batch of each epoch left over."""
    per_epoch = max(num_records // batch, 1)
    epochs = steps // per_epoch
    trained = steps * min(batch, num_records)
    left = epochs * (num_records - per_epoch * min(batch, num_records))
    aside = {"in the last, smaller batch of an epoch": left} if left else {}
    return Counts(rows_in=trained + left, rows_out=trained, set_aside=aside)


def _metrics(metrics: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if isinstance(value, (int, float)))


def _plain(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if isinstance(value, (int, float))}


def _functions(pipeline: Pipeline) -> tuple[str, ...]:
    assert pipeline.train is not None
    return (pipeline.train.build_model, *([pipeline.train.callbacks] if pipeline.train.callbacks else []))


STEP = Step(
    name="train",
    after=("ingest", "analyze", "transform"),
    run=_run,
    functions=_functions,
    inputs=data_inputs,
    packages=("tensorflow", "keras"),
    resumable=True,
    cosmetic=("directory", "label", "log_every_steps", "tensorboard"),
)
