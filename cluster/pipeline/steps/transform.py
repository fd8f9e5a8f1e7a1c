"""transform: both splits through the transform graph, as shards that training reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.pipeline.step import Counts, Step, StepContext, StepResult
from cluster.pipeline.steps.analyze import data_inputs
from engine.core.errors import ConfigError

__all__ = ["STEP"]


def _run(context: StepContext) -> StepResult:
    from cluster.steps import transform
    from engine import Dataset

    config = context.pipeline.transform
    assert config is not None
    graph = context.output("analyze", "graph")
    rows_in, rows_out, notes = 0, 0, []
    for split in ("train", "eval"):
        dataset = context.raw(split)
        report = transform.run(config, dataset, graph, context.out / split, hints=context.text_columns())
        rows_in, rows_out = rows_in + dataset.num_records, rows_out + report.written
        notes.append(f"{split} {report.written:,} in {report.shards} shard{'s' * (report.shards != 1)}")
        check_labels(Dataset.open(str(context.out / split)).schema, context.pipeline.labels)
    return StepResult(
        counts=Counts(rows_in=rows_in, rows_out=rows_out),
        outputs={"train": "train", "eval": "eval"},
        notes=(f"rows as {config.format}: {', '.join(notes)}",),
    )


def check_labels(schema: Any, labels: Sequence[str]) -> None:
    """Raises ConfigError where a label is not among the features, or not a number."""
    for label in labels:
        _check_label(schema, label)


def _check_label(schema: Any, label: str) -> None:
    import pyarrow as pa

    from engine.schema.lists import is_list

    if label not in schema.names:
        raise ConfigError(
            f"pipeline.label: transformed feature {label!r} not found; the transform gives {', '.join(schema.names)}"
        )
    kind = schema.field(label).type
    value = kind.value_type if is_list(kind) else kind
    if not (pa.types.is_integer(value) or pa.types.is_floating(value)):
        raise ConfigError(
            f"pipeline.label: '{label}' is {kind}; a label is a number: let preprocessing_fn turn it into one "
            "(e.g. tft.compute_and_apply_vocabulary, or tf.cast of a comparison)"
        )


STEP = Step(
    name="transform",
    after=("ingest", "analyze"),
    run=_run,
    inputs=data_inputs,
    packages=("tensorflow", "tensorflow-transform"),
)
