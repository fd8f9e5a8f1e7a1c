"""An analysis and another pass over the same records: each split is read once, and both see its batches.

An analysis takes columns as TensorFlow sees them, statistics as the files have them: a batch comes as it lies in the files, with the
columns that TensorFlow sees otherwise beside them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from engine.core.errors import DataError
from engine.schema.conform import conform, select_fields
from engine.schema.tensorflow_view import tensorflow_schema
from transforms.passes.analysis import AnalysisPass, OpenPass, PassState
from transforms.runners.base import FeatureReader, SplitReader

__all__ = ["JointPass", "JointReader", "OpenJoint"]

_Parts = dict[tuple[int, int], bytes | memoryview]
_SEEN = (
    "fullpass\0tensorflow\0"  # before the name of a column as TensorFlow sees it; no name of a file's column begins so
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class JointReader:
    """Reads splits for both; picklable.

    Attributes:
        schema: Arrow schema of the data set.
        columns: all that are read.
        analyzed: those of the analysis.
        batch_rows: records a batch.
    """

    schema: pa.Schema
    columns: tuple[str, ...]
    analyzed: tuple[str, ...]
    batch_rows: int

    @property
    def view(self) -> pa.Schema:
        """The columns of the analysis as TensorFlow sees them."""
        return tensorflow_schema(select_fields(self.schema, self.analyzed))

    def read(self, split: Any) -> Iterator[pa.RecordBatch]:
        """Yields the batches of a split.

        Raises:
            DataError: a value that TensorFlow cannot see (1e300), named as if the analysis read alone.
        """
        view = self.view
        changed = [field.name for field in view if field != self.schema.field(field.name)]
        reader = SplitReader(schema=self.schema, columns=self.columns, batch_rows=self.batch_rows)
        for batch in reader.read(split):
            try:
                seen = conform(batch, view)
            except DataError:
                alone = FeatureReader.of(self.schema, self.analyzed)
                for _ in alone.read(split):  # which knows the file and the record
                    pass
                raise
            arrays = [*batch.columns, *(seen.column(name) for name in changed)]
            yield pa.RecordBatch.from_arrays(arrays, [*batch.schema.names, *(_SEEN + name for name in changed)])


@dataclasses.dataclass
class JointState:
    """States of both over some batches; the other's is gone once it is encoded, where the analysis goes on."""

    analysis: PassState
    other: Any

    @property
    def rows(self) -> int:
        """Records seen."""
        return self.analysis.rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class JointPass:
    """Both passes as one for a runner; picklable.

    Attributes:
        analysis: of a phase.
        other: a pass with `create` and `update` when it is opened; its parts have keys behind those of the analysis.
        view: schema of the analysis's columns.
    """

    analysis: AnalysisPass
    other: Any
    view: pa.Schema

    @property
    def holds_lock(self) -> bool:
        """Whether either spends its time in Python."""
        return bool(self.analysis.holds_lock or self.other.holds_lock)

    @property
    def portable(self) -> bool:
        """Whether another process can run both."""
        return bool(self.analysis.portable and self.other.portable)

    def open(self) -> OpenJoint:
        """Returns both ready to run in this process."""
        return OpenJoint(self)

    def merge(self, key: tuple[int, int], blobs: Sequence[bytes | memoryview]) -> bytes | memoryview:
        """Returns the merged part of the pass that the key is of."""
        offset = len(self.analysis.analyzers)
        if key[0] < offset:
            return self.analysis.merge(key, blobs)
        merged: bytes | memoryview = self.other.merge((key[0] - offset, key[1]), blobs)
        return merged

    def parts_of(self, parts: Mapping[tuple[int, int], bytes | memoryview]) -> tuple[_Parts, _Parts]:
        """Returns the parts of the analysis, and those of the other pass."""
        offset = len(self.analysis.analyzers)
        mine = {key: blob for key, blob in parts.items() if key[0] < offset}
        return mine, {(key[0] - offset, key[1]): blob for key, blob in parts.items() if key[0] >= offset}


class OpenJoint:
    """Both passes in a worker; may run in several threads on different states.

    Args:
        plan: both.
    """

    carries = True

    def __init__(self, plan: JointPass) -> None:
        self._plan = plan
        self._analysis: OpenPass = plan.analysis.open()
        self._other = plan.other.open()

    def after_measuring(self, call: Callable[[], None]) -> None:
        """Has `call` be called when the memory of the first records in the graph is known."""
        self._analysis.after_measuring(call)

    def accumulate(self, batches: Iterable[pa.RecordBatch], begun: JointState | None = None) -> JointState:
        """Returns the states over the batches; what of the analysis has no order goes on from `begun`."""
        state = JointState(self._analysis.create(None if begun is None else begun.analysis), self._other.create())
        for batch in batches:
            self._analysis.update(state.analysis, self._seen(batch))
            self._other.update(state.other, batch)
        return state

    def encode(self, state: JointState, order_free: bool | None = None) -> _Parts:
        """Returns the states as bytes, see `OpenPass.encode`; the other's go with those that have an order."""
        parts = self._analysis.encode(state.analysis, order_free)
        if order_free is True:
            return parts
        offset = len(self._plan.analysis.analyzers)
        parts.update({(key[0] + offset, key[1]): blob for key, blob in self._other.encode(state.other).items()})
        if order_free is False:
            state.other = None  # the state waits for the next split, which has one of its own
        return parts

    def close(self) -> None:
        """Frees what `open` took."""
        self._analysis.close()
        self._other.close()

    def _seen(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        places = {name: index for index, name in enumerate(batch.schema.names)}
        arrays = [batch.column(places.get(_SEEN + name, places[name])) for name in self._plan.view.names]
        if not arrays:
            return batch.select([])
        return pa.RecordBatch.from_arrays(arrays, schema=self._plan.view)
