"""What an accumulator is: the state of one analyzer over a part of the data, mergeable, and encoded without pickle.

A TFT analyzer is a small graph of operation definitions:

    TensorSource → Accumulate → Merge → (Prune, FormatKeys, OrderAndWrite, ...) → outputs

An `Accumulator` stands for the Accumulate node: workers `update` it batch by batch, `encode` it in one or more parts,
the runner groups the parts by (analyzer, part), `merge`s each in split order and `seal`s it; the driver then holds one
state a part. What follows the Accumulate node are *evaluators* (`evaluators.py`): plain functions that run once, in the
driver, on those states.

States are the accumulator's own business (numpy arrays, Arrow tables, file handles). Accumulators themselves are built
once in the driver and travel to the workers by pickle like any Beam DoFn: keep nothing of TensorFlow in them.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

__all__ = ["Accumulator", "Part", "Reduction", "SourceInfo"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reduction:
    """A per-batch reduction that TFT's graph does before an analyzer, noted while it was traced.

    Attributes:
        name: the function of `tensorflow_transform.tf_utils`, e.g. "reduce_batch_count_mean_and_var".
        arguments: its non-tensor arguments by name, e.g. {"reduce_instance_dims": True}.
        kinds: of each tensor argument, in order: "dense", "sparse" or "ragged".
        dtypes: numpy dtype name of each tensor argument ("object" for strings).
        shapes: static shape of each tensor argument, None for unknown dimensions (or None for an unknown rank).
    """

    name: str
    arguments: dict[str, Any]
    kinds: tuple[str, ...]
    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...] | None, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceInfo:
    """What can be had at the input of an Accumulate operation.

    Attributes:
        dtypes: numpy dtype name of each tensor of the TensorSource ("object" for strings).
        shapes: static shape of each, as in `Reduction`.
        reduction: the reduction that made those tensors out of raw ones, or None where it is not known.
    """

    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...] | None, ...]
    reduction: Reduction | None = None


@dataclasses.dataclass(frozen=True)
class Part:
    """One keyed piece of an encoded state. Parts of the same number are merged with each other and with no other.

    Attributes:
        number: from 0 to below `Accumulator.num_parts`. A state that does not split is part 0.
        blob: the bytes (or a memoryview of a mapped file); versioned, never a pickle.
    """

    number: int
    blob: bytes | memoryview


class Accumulator(abc.ABC):
    """Accumulates one analyzer.

    Attributes:
        name: stable name, stored with encoded states, e.g. "vocabulary".
        version: of the encoding; a decoder refuses others.
        wants_raw: whether `update` gets the raw tensor arguments of `SourceInfo.reduction` instead of the tensors that
            TFT's own per-batch reduction gives. Set it in `from_operation`, and only where the reduction is known.
        holds_lock: whether `update` spends its time in Python: threads do not help then, processes do.
        order_free: whether the merged result is the same bit for bit in whatever order and grouping batches come, as integer sums
            are: one state may then take the batches of many splits, and fewer states are merged.
        num_parts: number of parts that a state is encoded in at most (hash partitions of a vocabulary).
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    holds_lock: bool = False
    order_free: bool = False
    wants_raw: bool = False
    num_parts: int = 1

    @classmethod
    @abc.abstractmethod
    def from_operation(cls, operation: Any, source: SourceInfo, downstream: tuple[Any, ...] = ()) -> Accumulator | None:
        """Returns an accumulator for TFT's operation definition, or None where this class cannot do it.

        Args:
            operation: the Accumulate operation definition (`tensorflow_transform.analyzer_nodes`).
            source: what its inputs are.
            downstream: operation definitions that (transitively) use its output, nearest first: thresholds and top_k of
                a vocabulary may be applied in `seal`.
        """

    @abc.abstractmethod
    def create(self) -> Any:
        """Returns an empty state."""

    @abc.abstractmethod
    def update(self, state: Any, arrays: Sequence[Any]) -> Any:
        """Returns the state with a batch added; the given state may be changed in place.

        Args:
            arrays: with `wants_raw`, one entry a raw tensor argument (optional ones that were not given are left out),
                flat: `pyarrow.Array` where a column of the input reaches the analyzer untouched (binary, int64 or
                float32, without nulls), else `numpy.ndarray` as TensorFlow gives it (strings: object arrays of bytes;
                of sparse and ragged tensors the values). Without it, one `numpy.ndarray` a tensor of the source.
        """

    @abc.abstractmethod
    def merge(self, states: Sequence[Any]) -> Any:
        """Returns one state out of several of the same part, given in the order of their splits.

        The order is the same in each run, so float sums may depend on it.
        """

    @abc.abstractmethod
    def encode(self, state: Any) -> list[Part]:
        """Returns the state as bytes, in parts. Empty parts may be left out."""

    @abc.abstractmethod
    def decode(self, part: Part) -> Any:
        """Returns the state of a part.

        Raises:
            engine.DataError: when the bytes are of another accumulator or version.
        """

    def seal(self, state: Any) -> Any:
        """Returns the subset of a part's merged state that is sent to the driver; called once a part, on a worker."""
        return state

    @abc.abstractmethod
    def finish(self, states: Sequence[Any]) -> Any:
        """Returns the value of the Accumulate operation out of the sealed states of all parts, by part number.

        It runs in the driver and goes to the evaluators of the operations that follow. No data at all means no states.
        """
