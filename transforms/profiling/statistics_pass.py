"""The pass that takes statistics: what a worker does with a split, and how the states of splits are merged.

It has the same verbs as `transforms.passes.analysis.AnalysisPass`, so every runner runs it. A part of its state is all that is known
of one feature, of all slices; the last part holds the number of records of each slice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import DataError
from transforms.accumulators.framing import decode_state, encode_state
from transforms.profiling.columns import feature_column
from transforms.profiling.feature_state import FeatureState
from transforms.profiling.slices import ALL_EXAMPLES, refuse_many, slices_of

__all__ = ["OpenStatistics", "SliceRows", "StatisticsPass", "StatisticsState"]

_NAME, _VERSION = "statistics", 1
_SLICE_SHARE = 4  # a slice keeps fewer distinct values than the whole: there may be many


@dataclasses.dataclass
class SliceRows:
    """Records of a slice: their number, and the sum of their weights."""

    rows: int = 0
    weight: float = 0.0


@dataclasses.dataclass
class StatisticsState:
    """States of all features, by slice.

    Attributes:
        slices: by name of the slice, one state a feature.
        counts: by name of the slice.
        rows: records seen.
    """

    slices: dict[str, list[FeatureState]]
    counts: dict[str, SliceRows]
    rows: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class StatisticsPass:
    """All that a worker needs; picklable.

    Attributes:
        features: (column, kind of its values) of each feature.
        slices: the columns of each kind of slice.
        weight: column that weighs the records; None for no weights.
        limit: most distinct values of a feature that are kept exactly.
    """

    features: tuple[tuple[str, str], ...]
    slices: tuple[tuple[str, ...], ...] = ()
    weight: str | None = None
    limit: int = 1 << 16

    holds_lock = False
    portable = True

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the pass reads."""
        names = [name for name, _ in self.features]
        names += [name for columns in self.slices for name in columns]
        return tuple(dict.fromkeys([*names, *([self.weight] if self.weight else [])]))

    def open(self) -> OpenStatistics:
        """Returns the pass ready to run in this process."""
        return OpenStatistics(self)

    def limit_of(self, name: str) -> int:
        """Returns how many distinct values a slice keeps of each feature."""
        return self.limit if name == ALL_EXAMPLES else max(self.limit // _SLICE_SHARE, 1024)

    def merge(self, key: tuple[int, int], blobs: Sequence[bytes | memoryview]) -> bytes:
        """Returns the merged part of a feature, or of the numbers of records, from those of all splits in their order."""
        if key[0] == len(self.features):
            counts: dict[str, SliceRows] = {}
            for blob in blobs:
                for name, each in _decode_counts(blob).items():
                    held = counts.setdefault(name, SliceRows())
                    held.rows, held.weight = held.rows + each.rows, held.weight + each.weight
            refuse_many(counts)
            return _encode_counts(counts)
        found: dict[str, FeatureState] = {}
        for blob in blobs:
            for name, state in self._decode(blob).items():
                if name in found:
                    found[name].merge(state)
                else:
                    found[name] = state
        return _encode(found)

    def finish(
        self, parts: Mapping[tuple[int, int], bytes | memoryview]
    ) -> tuple[dict[str, SliceRows], dict[str, list[FeatureState]]]:
        """Returns (records by slice, states of all features by slice), the whole first, then the slices by name."""
        last = (len(self.features), 0)
        counts = _decode_counts(parts[last]) if last in parts else {}
        counts.setdefault(ALL_EXAMPLES, SliceRows())
        names = [ALL_EXAMPLES, *sorted(name for name in counts if name != ALL_EXAMPLES)]
        slices: dict[str, list[FeatureState]] = {name: [] for name in names}
        for index, (_, kind) in enumerate(self.features):
            found = self._decode(parts[index, 0]) if (index, 0) in parts else {}
            for name in names:
                slices[name].append(found.get(name) or FeatureState.empty(kind, self.limit_of(name)))
        return {name: counts[name] for name in names}, slices

    def _decode(self, blob: bytes | memoryview) -> dict[str, FeatureState]:
        arrays, values = decode_state(_NAME, _VERSION, blob)
        return {
            name: FeatureState.decode(arrays, inner, f"{index}/", self.limit_of(name))
            for index, (name, inner) in enumerate(values["slices"])
        }


class OpenStatistics:
    """A pass in a worker; `update` may run in several threads on different states.

    Args:
        plan: the pass.
    """

    carries = False

    def __init__(self, plan: StatisticsPass) -> None:
        self.plan = plan

    def create(self) -> StatisticsState:
        """Returns empty states."""
        return StatisticsState({}, {})

    def update(self, state: StatisticsState, batch: pa.RecordBatch) -> None:
        """Adds a batch to the states."""
        state.rows += batch.num_rows
        if not batch.num_rows:
            return
        weights = _weights(batch, self.plan.weight) if self.plan.weight else None
        self._add(state, ALL_EXAMPLES, batch, weights)
        for name, rows in slices_of(batch, self.plan.slices):
            mine = None if weights is None else weights[rows]
            self._add(state, name, batch.take(pa.array(rows)), mine)

    def _add(self, state: StatisticsState, name: str, batch: pa.RecordBatch, weights: np.ndarray | None) -> None:
        if name not in state.slices:
            limit = self.plan.limit_of(name)
            state.slices[name] = [FeatureState.empty(kind, limit) for _, kind in self.plan.features]
            state.counts[name] = SliceRows()
            refuse_many(state.counts)
        counts = state.counts[name]
        counts.rows += batch.num_rows
        counts.weight += 0.0 if weights is None else float(weights.sum())
        for held, (column, _) in zip(state.slices[name], self.plan.features):
            held.add(feature_column(batch.column(column)), batch.num_rows, weights)

    def accumulate(self, batches: Iterable[pa.RecordBatch]) -> StatisticsState:
        """Returns the states over the batches."""
        state = self.create()
        for batch in batches:
            self.update(state, batch)
        return state

    def encode(self, state: StatisticsState) -> dict[tuple[int, int], bytes | memoryview]:
        """Returns the states as bytes by (feature, 0), the numbers of records last."""
        parts: dict[tuple[int, int], bytes | memoryview] = {
            (index, 0): _encode({name: held[index] for name, held in state.slices.items()})
            for index in range(len(self.plan.features))
        }
        parts[len(self.plan.features), 0] = _encode_counts(state.counts)
        return parts

    def close(self) -> None:
        """Nothing to free."""


def _encode(states: Mapping[str, FeatureState]) -> bytes:
    arrays: dict[str, np.ndarray] = {}
    values: list[Any] = []
    for index, (name, state) in enumerate(states.items()):
        mine, inner = state.encode(f"{index}/")
        arrays.update(mine)
        values.append([name, inner])
    return encode_state(_NAME, _VERSION, arrays, {"slices": values})


def _encode_counts(counts: Mapping[str, SliceRows]) -> bytes:
    return encode_state(
        _NAME, _VERSION, {}, {"rows": [[name, each.rows, each.weight] for name, each in counts.items()]}
    )


def _decode_counts(blob: bytes | memoryview) -> dict[str, SliceRows]:
    _, values = decode_state(_NAME, _VERSION, blob)
    return {name: SliceRows(rows, weight) for name, rows, weight in values["rows"]}


def _weights(batch: pa.RecordBatch, name: str) -> np.ndarray:
    column = feature_column(batch.column(name))
    values: np.ndarray = column.values.to_numpy(zero_copy_only=False).astype(np.float64)
    if column.present is not None or (column.lengths is not None and not (column.lengths == 1).all()):
        raise DataError(
            f"weight: column {name!r} has no value, or several, in some records; each record needs one weight"
        )
    if not (np.isfinite(values).all() and (values >= 0).all()):
        wrong = values[~(np.isfinite(values) & (values >= 0))][0]
        raise DataError(f"weight: column {name!r} holds {wrong}; a weight is a finite number of 0 or more")
    return values
