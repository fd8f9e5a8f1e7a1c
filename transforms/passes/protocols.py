"""What runners ask of a pass: of one that adds up (analysis, statistics, evaluation), and of one that writes shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import pyarrow as pa

__all__ = [
    "AccumulatePass",
    "AccumulateState",
    "Measuring",
    "OpenAccumulate",
    "OpenCarrying",
    "OpenWrite",
    "WritePass",
    "carrying",
]


class AccumulateState(Protocol):
    """What a worker holds of a split.

    Attributes:
        rows: records seen.
    """

    rows: int


class OpenAccumulate(Protocol):
    """A pass in a worker; may run in several threads on different states.

    Attributes:
        carries: whether it is an `OpenCarrying`, parts of whose states go on over splits.
    """

    carries: bool

    def accumulate(self, batches: Iterable[pa.RecordBatch]) -> Any:
        """Returns the `AccumulateState` over the batches."""

    def encode(self, state: Any) -> Mapping[tuple[int, int], bytes | memoryview]:
        """Returns the state as bytes by (analyzer, part)."""

    def close(self) -> None:
        """Frees what `open` took."""


@runtime_checkable
class Measuring(Protocol):
    """A pass in a worker that measures what its first records take of the process's memory, while nothing else may run."""

    def after_measuring(self, call: Callable[[], None]) -> None:
        """Has `call` be called when that is known."""


class OpenCarrying(OpenAccumulate, Protocol):
    """A pass some of whose states do not depend on the order of splits: one of them serves many splits, and is encoded once."""

    def accumulate(self, batches: Iterable[pa.RecordBatch], begun: Any = None) -> Any:
        """Returns the `AccumulateState` over the batches; the parts without order go on from `begun`, of an earlier call."""

    def encode(self, state: Any, order_free: bool | None = None) -> Mapping[tuple[int, int], bytes | memoryview]:
        """Returns the state as bytes by (analyzer, part): all, the parts without order alone (True), or the others (False)."""


def carrying(opened: OpenAccumulate) -> OpenCarrying | None:
    """Returns the pass as one whose states go on over splits, None where it has none such."""
    return cast(OpenCarrying, opened) if opened.carries else None


class AccumulatePass(Protocol):
    """A pass that makes mergeable states of splits; picklable, and it knows nothing of where it runs."""

    @property
    def holds_lock(self) -> bool:
        """Whether it spends its time in Python, so that threads wait for each other."""

    @property
    def portable(self) -> bool:
        """Whether another process can run it."""

    def open(self) -> OpenAccumulate:
        """Returns the pass ready to run in this process."""

    def merge(self, key: tuple[int, int], blobs: Sequence[bytes | memoryview]) -> bytes | memoryview:
        """Returns the merged part of (analyzer, part) from the states of splits, in their order."""


class OpenWrite(Protocol):
    """A pass that writes, in a worker; `run` may be called from several threads."""

    def run(self, task: Any, reader: Any, watch: Callable[[Iterator[Any]], Iterator[Any]] = ...) -> Any:
        """Writes the shard of a `ShardTask` and returns its `ShardResult`; `watch` counts the batches read."""

    def close(self) -> None:
        """Frees what `open` took."""


class WritePass(Protocol):
    """A pass that makes each shard of its output of records of the input; picklable. A task that runs twice leaves the same file."""

    def open(self) -> OpenWrite:
        """Returns the pass ready to run in this process."""
