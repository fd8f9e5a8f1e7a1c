"""Which columns an evaluation reads for its segments, and the buckets that it makes of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from engine.core.errors import ConfigError, column_not_found
from trainers.evaluation.segments.buckets import quantile_edges
from trainers.evaluation.segments.segments import one_a_row
from trainers.evaluation.thresholds import Threshold

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["bucket_edges", "columns_to_read", "computed_features", "wanted_slices"]


def wanted_slices(slices: Sequence[Sequence[str] | str], judged: Sequence[Threshold]) -> list[tuple[str, ...]]:
    """Returns the kinds of segments that are asked for, and those that thresholds judge, each once.

    Raises:
        ConfigError: a kind without a column, or with one twice.
    """
    kinds = [slices] if isinstance(slices, str) else slices
    given = [(part,) if isinstance(part, str) else tuple(part) for part in kinds]
    if any(not part for part in given):
        raise ConfigError(f"slices={list(slices)!r}: each needs at least one column")
    wanted = list(dict.fromkeys([*given, *(part for threshold in judged for part in threshold.slices)]))
    for part in wanted:
        if len(set(part)) < len(part):
            raise ConfigError(f"slices: {', '.join(part)} has a column twice; give each once")
    return wanted


def computed_features(dataset: Dataset, model: Any, slices: Sequence[tuple[str, ...]]) -> list[str]:
    """Returns the names in slices that only the graph inside the model gives; the data's own column comes first."""
    names = dict.fromkeys(name for part in slices for name in part)
    return [name for name in names if name not in dataset.schema.names and model.computes(name)]


def columns_to_read(
    dataset: Dataset,
    models: Mapping[str, Any],
    labels: Sequence[str],
    slices: Sequence[tuple[str, ...]],
    computed: Sequence[str],
    others: Sequence[tuple[str, str | None]],
) -> list[str]:
    """Returns the columns of the data that an evaluation reads, each once.

    Args:
        dataset: the data.
        models: by role.
        labels: of the outputs.
        slices: columns of each kind of segment.
        computed: those of them that the model's graph gives.
        others: (role, column) of what else is read, such as weights.

    Raises:
        ConfigError: a column that neither the data nor the model's graph has.
    """
    names = dataset.schema.names
    # A label that the graph inside the model computes is no column of the data.
    own = [label for label in labels if not models["model"].computes(label)]
    for role, name in [*(("label", label) for label in own), *others]:
        if name is not None and name not in names:
            raise ConfigError(
                f"{role} {name!r}: neither the data nor the model's transform graph has it; the data has {', '.join(names)}"
            )
    sliced = [name for part in slices for name in part if name not in computed]
    for name in sliced:
        if name not in names:
            raise ConfigError(f"slices: {column_not_found([name], names)}")
    needed = [name for model in models.values() for name in model.columns([*labels, *computed])]
    for name in needed:
        if name not in names:
            raise ConfigError(f"the model takes feature {name!r}: {column_not_found([name], names)}")
    return list(dict.fromkeys([*needed, *own, *(name for _, name in others if name is not None), *sliced]))


def bucket_edges(
    dataset: Dataset,
    model: Any,
    buckets: Mapping[str, int | tuple[float, ...]],
    slices: Sequence[tuple[str, ...]],
    computed: Sequence[str],
) -> dict[str, tuple[float, ...]]:
    """Returns edges by column; quantiles are found in a pass of their own over these columns alone.

    Raises:
        ConfigError: buckets of a column that is in no slice.
    """
    sliced = {name for part in slices for name in part}
    unused = [name for name in buckets if name not in sliced]
    if unused:
        raise ConfigError(
            f"buckets: column {unused[0]!r} is in no slice; slices have {', '.join(sorted(sliced)) or 'none'}"
        )
    counts = {name: value for name, value in buckets.items() if isinstance(value, int)}
    found = quantile_edges(_bucket_columns(dataset, model, list(counts), computed), counts) if counts else {}
    return {name: found[name] if isinstance(value, int) else value for name, value in buckets.items()}


def _bucket_columns(
    dataset: Dataset, model: Any, names: Sequence[str], computed: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    mine = [name for name in names if name in computed]
    raw = [name for name in names if name not in computed]
    needed = list(dict.fromkeys([*raw, *(model.columns(mine) if mine else [])]))
    for batch in dataset.read_batches(columns=needed):
        if not batch.num_rows:
            continue
        values = model.transformed(batch, mine) if mine else {}
        arrays = [one_a_row(values[name], name) if name in values else batch.column(name) for name in names]
        yield pa.RecordBatch.from_arrays(arrays, list(names))
