"""One pass over the data for one phase: what a worker does with a split, and how its results are merged.

An `AnalysisPass` is picklable and knows nothing of where it runs. A worker opens it once, accumulates split by split,
and encodes what it has as parts keyed by (analyzer, part). A part is merged from the encoded states of all splits in the
order of the splits, so that nothing depends on which worker was first.
"""

from __future__ import annotations

import dataclasses
import pickle  # nosec B403 - only written, to see whether it can be
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.accumulators import Accumulator, Part
from transforms.batches.batch_cutter import DEFAULT_MEMORY_BYTES, BatchCutter
from transforms.batches.columns import ColumnInput
from transforms.batches.features import BatchSource
from transforms.batches.graph_strings import Strings
from transforms.planning.graph_function import GraphFunction
from transforms.planning.saved_model_function import SavedModelFunction

__all__ = ["AnalysisPass", "OpenPass", "PassAnalyzer", "PassState", "finish_parts", "merge_part"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PassAnalyzer:
    """An analyzer of a pass.

    Attributes:
        label: unique.
        accumulator: what does it.
        inputs: a column, or the index of a fetched tensor with a filter.
    """

    label: str
    accumulator: Accumulator
    inputs: tuple[ColumnInput | int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalysisPass:
    """All that a worker needs for one phase.

    Attributes:
        analyzers: in plan order.
        function: the graph to run on each batch, or None where columns suffice.
        source: takes features out of batches.
        memory_bytes: what a worker may hold, see `batches.batch_cutter`.
    """

    analyzers: tuple[PassAnalyzer, ...]
    function: GraphFunction | SavedModelFunction | None
    source: BatchSource
    memory_bytes: int = DEFAULT_MEMORY_BYTES

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the pass reads."""
        features = [
            each.feature for analyzer in self.analyzers for each in analyzer.inputs if isinstance(each, ColumnInput)
        ]
        features += [feature for feature, _ in self.function.feeds] if self.function is not None else []
        return tuple(dict.fromkeys(column for feature in features for column in self.source.columns_of(feature)))

    @property
    def holds_lock(self) -> bool:
        """Whether an accumulator spends its time in Python, so that threads wait for each other."""
        return any(analyzer.accumulator.holds_lock for analyzer in self.analyzers)

    @property
    def portable(self) -> bool:
        """Whether another process can run it: Python functions inside the graph live in this one."""
        if self.function is None:
            return True
        if isinstance(self.function, GraphFunction):
            graph = self.function.graph_def
        else:
            graph = Path(self.function.path, "saved_model.pb").read_bytes()
        if b"PyFunc" in graph:
            return False
        try:
            pickle.dumps(self)
        except Exception:  # a user's own combiner that no other process could import
            return False
        return True

    def open(self) -> OpenPass:
        """Returns the pass ready to run in this process."""
        return OpenPass(self)

    def merge(self, key: tuple[int, int], blobs: Sequence[bytes | memoryview]) -> bytes | memoryview:
        """Returns the merged and sealed part of an analyzer, see `merge_part`."""
        return merge_part(self.analyzers, key, blobs)

    def finish(self, parts: Mapping[tuple[int, int], bytes | memoryview]) -> list[Any]:
        """Returns one value an analyzer out of all merged parts, see `finish_parts`."""
        return finish_parts(self.analyzers, parts)


def merge_part(
    analyzers: Sequence[PassAnalyzer], key: tuple[int, int], blobs: Sequence[bytes | memoryview]
) -> bytes | memoryview:
    """Returns the merged and sealed part of an analyzer.

    Args:
        analyzers: of the pass.
        key: (index of the analyzer, part number).
        blobs: encoded states in the order of their splits.

    Raises:
        RuntimeError: the accumulator sealed a part into several, or none.
    """
    accumulator = analyzers[key[0]].accumulator
    states = [accumulator.decode(Part(key[1], blob)) for blob in blobs]
    state = accumulator.seal(states[0] if len(states) == 1 else accumulator.merge(states))
    parts = [part for part in accumulator.encode(state) if part.number == key[1]]
    if len(parts) != 1:
        raise RuntimeError(f"accumulator {accumulator.name!r} gave {len(parts)} parts for part {key[1]}")
    return parts[0].blob


def finish_parts(analyzers: Sequence[PassAnalyzer], parts: Mapping[tuple[int, int], bytes | memoryview]) -> list[Any]:
    """Returns one value an analyzer out of all merged parts."""
    numbers: dict[int, list[int]] = {}
    for index, number in sorted(parts):
        numbers.setdefault(index, []).append(number)
    values = []
    for index, analyzer in enumerate(analyzers):
        states = [analyzer.accumulator.decode(Part(each, parts[index, each])) for each in numbers.get(index, [])]
        values.append(analyzer.accumulator.finish(states))
    return values


@dataclasses.dataclass
class PassState:
    """States of all analyzers over some batches.

    Attributes:
        states: one an analyzer.
        rows: records seen.
    """

    states: list[Any]
    rows: int = 0


class OpenPass:
    """A pass in a worker; `update` may run in several threads on different states.

    Args:
        plan: the pass.
    """

    carries = True  # counts and exact sums: the order of splits does not show in them

    def __init__(self, plan: AnalysisPass) -> None:
        self.plan = plan
        self._graph = plan.function.open() if plan.function is not None else None
        self._pieces = BatchCutter(self._run, plan.memory_bytes)

    def after_measuring(self, call: Callable[[], None]) -> None:
        """Has `call` be called when the memory of the first records is known; at once where no graph is run on them."""
        if self._graph is None:
            call()
        self._pieces.on_measured = call

    def create(self, begun: PassState | None = None) -> PassState:
        """Returns empty states; those that do not depend on the order of splits go on from `begun` where it is given."""
        fresh = (analyzer.accumulator for analyzer in self.plan.analyzers)
        if begun is None:
            return PassState([accumulator.create() for accumulator in fresh])
        states = [held if each.order_free else each.create() for each, held in zip(fresh, begun.states)]
        begun.states = []  # the others were encoded, and would lie in memory for as long as the next split takes
        return PassState(states)

    def update(self, state: PassState, batch: pa.RecordBatch) -> None:
        """Adds a batch to the states."""
        state.rows += batch.num_rows
        if not batch.num_rows:
            return
        if self._graph is None:
            self._add(state, batch, [])
            return
        for piece, fetched in self._pieces(batch):
            self._add(state, piece, fetched)

    def _add(self, state: PassState, batch: pa.RecordBatch, fetched: list[np.ndarray | Strings]) -> None:
        columns: dict[ColumnInput, pa.Array] = {}
        for index, analyzer in enumerate(self.plan.analyzers):
            arrays = [
                self._array(each, analyzer.accumulator.wants_raw, fetched, columns, batch) for each in analyzer.inputs
            ]
            state.states[index] = analyzer.accumulator.update(state.states[index], arrays)

    def accumulate(self, batches: Iterable[pa.RecordBatch], begun: PassState | None = None) -> PassState:
        """Returns the states over the batches.

        Args:
            batches: of one split.
            begun: what an earlier call returned, which is not used any more: its states go on where order changes nothing.
        """
        state = self.create(begun)
        for batch in batches:
            self.update(state, batch)
        return state

    def encode(self, state: PassState, order_free: bool | None = None) -> dict[tuple[int, int], bytes | memoryview]:
        """Returns the states as bytes by (analyzer, part).

        Args:
            state: of one split or of several.
            order_free: True for those of analyzers alone that may go on over splits, False for the others alone.
        """
        return {
            (index, part.number): part.blob
            for index, analyzer in enumerate(self.plan.analyzers)
            if order_free in (None, analyzer.accumulator.order_free)
            for part in analyzer.accumulator.encode(state.states[index])
        }

    def close(self) -> None:
        """Frees what `open` took."""
        if self._graph is not None:
            self._graph.close()

    def _array(
        self,
        source: ColumnInput | int,
        raw: bool,
        fetched: list[np.ndarray | Strings],
        columns: dict[ColumnInput, pa.Array],
        batch: pa.RecordBatch,
    ) -> Any:
        if isinstance(source, int):
            value = fetched[source]
            if isinstance(value, Strings):
                return value.values if raw else value.to_numpy()
            return value.reshape(-1) if raw else value
        if source not in columns:
            columns[source] = _column(self.plan.source, source, batch)
        return columns[source]

    def _run(self, batch: pa.RecordBatch) -> list[np.ndarray | Strings]:
        assert self._graph is not None and self.plan.function is not None
        return self._graph(self.plan.source.arrays(batch, self.plan.function.feeds))


def _column(source: BatchSource, column: ColumnInput, batch: pa.RecordBatch) -> pa.Array:
    values = source.values(batch, column.feature)
    return values if column.cast is None else pa.array(values.to_numpy(zero_copy_only=False).astype(column.cast))
