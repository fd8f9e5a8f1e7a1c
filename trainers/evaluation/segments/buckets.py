"""Buckets of a numeric column, by edges or by quantiles of its values."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError
from engine.schema.conform import as_numbers
from trainers.evaluation.segments.segments import one_value

__all__ = ["MOST_BUCKETS", "Buckets", "bucketed", "parse_buckets", "quantile_edges"]

Buckets = Mapping[str, tuple[float, ...]]  # column to its edges, ascending
MOST_BUCKETS = 1000
_SAMPLE = 1 << 20  # values whose quantiles are exact; of more, a sample of so many


def parse_buckets(buckets: Mapping[str, Any] | None) -> dict[str, int | tuple[float, ...]]:
    """Returns for each column a number of quantile buckets, or edges.

    Args:
        buckets: column to number (of buckets that hold equally many rows), or to a list of ascending edges.

    Raises:
        ConfigError: anything else; the message names the column.
    """
    found: dict[str, int | tuple[float, ...]] = {}
    for column, value in (buckets or {}).items():
        if isinstance(value, int) and not isinstance(value, bool):
            if not 2 <= value <= MOST_BUCKETS:
                raise ConfigError(f"buckets.{column} = {value}: a number of buckets is from 2 to {MOST_BUCKETS}")
            found[column] = value
            continue
        edges: Any = value if isinstance(value, (list, tuple)) and value else [None]
        if not all(isinstance(e, (int, float)) and not isinstance(e, bool) and np.isfinite(e) for e in edges):
            raise ConfigError(
                f"buckets.{column} = {value!r}: it must be a number of buckets, or a list of edges, e.g. [0, 500, 1000]"
            )
        if any(low >= high for low, high in itertools.pairwise(edges)) or len(edges) >= MOST_BUCKETS:
            raise ConfigError(f"buckets.{column} = {value!r}: edges must ascend, and be fewer than {MOST_BUCKETS}")
        found[column] = tuple(float(edge) for edge in edges)
    return found


def bucketed(column: pa.Array, name: str, edges: tuple[float, ...]) -> pa.Array:
    """Returns the bucket of each value as text, e.g. "[500, 1000)"; null where the value is missing or not a number."""
    values = numbers(column, name)
    texts = [f"{low}, {high})" for low, high in itertools.pairwise(["(-inf", *_names(edges), "inf"])]
    texts = [text if text.startswith("(") else f"[{text}" for text in texts]
    codes = np.searchsorted(edges, values, side="right")
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32), mask=np.isnan(values)), pa.array(texts, pa.string())
    )


def quantile_edges(batches: Iterable[pa.RecordBatch], wanted: Mapping[str, int]) -> dict[str, tuple[float, ...]]:
    """Returns edges between buckets of equally many rows; fewer where values repeat.

    Args:
        batches: of the columns.
        wanted: column to number of buckets.

    Raises:
        ConfigError: a column that is not one number a row, or has none.
    """
    samples = {name: _Sample() for name in wanted}
    for batch in batches:
        for name, sample in samples.items():
            sample.add(numbers(batch.column(name), name))
    found = {}
    for name, buckets in wanted.items():
        values = samples[name].values()
        if not len(values):
            raise ConfigError(f"buckets: column {name!r} has no value in any row")
        edges = np.quantile(values, np.arange(1, buckets) / buckets, method="inverted_cdf")
        # An edge at the least value would leave an empty bucket below it, and one at infinity is no number to read.
        found[name] = tuple(float(edge) for edge in np.unique(edges) if edge > values.min() and np.isfinite(edge))
    return found


class _Sample:
    """Values of a column: all of them, or of more than `_SAMPLE` those whose row's number is mixed to the least."""

    def __init__(self) -> None:
        self._values, self._ranks = np.zeros(0), np.zeros(0, np.uint64)
        self._rows = 0

    def add(self, values: np.ndarray) -> None:
        from trainers.evaluation.accumulators.sampling import mixed

        ranks = mixed(self._rows + np.arange(len(values)), 99)
        self._rows += len(values)
        there = ~np.isnan(values)
        self._values = np.concatenate([self._values, values[there]])
        self._ranks = np.concatenate([self._ranks, ranks[there]])
        if len(self._values) > 2 * _SAMPLE:
            self._cut()

    def values(self) -> np.ndarray:
        if len(self._values) > _SAMPLE:
            self._cut()
        return self._values

    def _cut(self) -> None:
        least = np.argpartition(self._ranks, _SAMPLE)[:_SAMPLE]
        self._values, self._ranks = self._values[least], self._ranks[least]


def numbers(column: pa.Array, name: str) -> np.ndarray:
    """Returns float64 values of a column of one number a row, times in their unit; NaN where it is missing.

    Raises:
        ConfigError: it is not.
    """
    column = one_value(column, name)
    found = as_numbers(column)
    if found is None:
        raise ConfigError(f"buckets: column {name!r} is {column.type}; buckets are of numbers")
    values: np.ndarray = found.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def _names(edges: tuple[float, ...]) -> list[str]:
    """Edges in twelve digits, by which evaluations are compared; exact where two would read alike and be one segment."""
    short = [f"{edge:.12g}" for edge in edges]
    return short if len(set(short)) == len(short) else [repr(float(edge)) for edge in edges]
