"""What runners ask of a pass: that of an analysis, and that of statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

__all__ = ["AccumulatePass", "AccumulateState", "OpenAccumulate"]


class AccumulateState(Protocol):
    """What a worker holds of a split.

    Attributes:
        rows: records seen.
    """

    rows: int


class OpenAccumulate(Protocol):
    """A pass in a worker; may run in several threads on different states."""

    def accumulate(self, batches: Iterable[pa.RecordBatch]) -> Any:
        """Returns the `AccumulateState` over the batches."""

    def encode(self, state: Any) -> Mapping[tuple[int, int], bytes | memoryview]:
        """Returns the state as bytes by (analyzer, part)."""

    def close(self) -> None:
        """Frees what `open` took."""


class AccumulatePass(Protocol):
    """A pass that makes mergeable states of splits; picklable, and it knows nothing of where it runs."""

    @property
    def holds_lock(self) -> bool:
        """Whether it spends its time in Python, so that threads wait for each other."""

    @property
    def function(self) -> Any:
        """The graph that is run on each batch, or None."""

    def open(self) -> OpenAccumulate:
        """Returns the pass ready to run in this process."""

    def merge(self, key: tuple[int, int], blobs: Sequence[bytes | memoryview]) -> bytes | memoryview:
        """Returns the merged part of (analyzer, part) from the states of splits, in their order."""
