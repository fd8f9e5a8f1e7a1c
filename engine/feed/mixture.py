"""Several data sets as one feed, in fixed proportions: each source shuffles, repeats and resumes by its own plan."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine._native import ByteRows
from engine.core.errors import ConfigError
from engine.feed.batch_builder import Assembler
from engine.feed.columns import BYTES, Layout, numpy_batch, unpack_numpy
from engine.feed.config import FeedConfig
from engine.feed.feed import Feed, feed_of
from engine.feed.protocols import BlockData
from engine.feed.windows import WindowLoader
from engine.machine.ahead import batches_ahead, run_ahead
from engine.plan import Remainder
from engine.plan.feistel import derive_key
from engine.plan.mixture import MixSchedule
from engine.plan.state import source_identity

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = ["MixedFeed", "mix"]

_STATE_VERSION = 1


class MixedFeed:
    """Batches drawn from several sources; endless, each source starts its next epoch when it is through.

    The interface is `Feed`'s. `record_ids` number the sources' records one source after the other.

    Args:
        sources: one feed a source, all with the same columns; only their plans and readers are used.
        schedule: which source each slot takes.
        config: batch size, hosts and what else concerns the whole.
    """

    def __init__(self, sources: Sequence[Feed], schedule: MixSchedule, config: FeedConfig) -> None:
        self.config, self.schedule, self._sources = config, schedule, list(sources)
        self.layout: Layout = sources[0].layout
        self.record_bytes = max(source.record_bytes for source in sources)
        for number, source in enumerate(sources):
            if source.layout != self.layout:
                raise ConfigError(
                    f"source {number} has other columns than source 0: {_difference(self.layout, source.layout)}; "
                    "choose `columns` that all have with the same types"
                )
        self._offsets = np.cumsum([0] + [s.plan.num_records for s in sources])
        self._start = 0
        self._delivered: int | None = 0

    @property
    def host_batch_size(self) -> int:
        """Records that each batch of this feed holds."""
        return self.config.global_batch_size // self.config.num_hosts

    @property
    def steps_per_epoch(self) -> int:
        """Global batches that hold as many records as all sources together."""
        return int(self._offsets[-1]) // self.config.global_batch_size

    @property
    def skipped(self) -> list[int]:
        """Ids of the damaged records that were left out so far, numbered as `record_ids`."""
        return [int(o) + i for o, s in zip(self._offsets, self._sources) for i in s.skipped]

    def get_state(self, num_batches: int | None = None) -> dict[str, Any]:
        """Returns the JSON-able state after a number of batches; see `Feed.get_state`.

        Raises:
            ConfigError: no number was given and it is not known.
        """
        count = self._delivered if num_batches is None else num_batches
        if count is None:
            raise ConfigError(
                "the feed is read through tf.data, which runs ahead: give get_state(num_batches=consumed)"
            )
        return {**self._identity(), "batches_done": self._start + count, "skipped": [s.skipped for s in self._sources]}

    def _identity(self) -> dict[str, Any]:
        return {
            "version": _STATE_VERSION,
            "kind": "mixture",
            "weights": [float(w) for w in self.schedule.weights],
            "seed": self.config.seed,
            "global_batch_size": self.config.global_batch_size,
            "sources": [source_identity(s.plan, s.fingerprint) for s in self._sources],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Makes the state the start of every iteration begun from now on.

        Raises:
            ConfigError: the state belongs to another mixture; nothing is changed.
        """
        for name, here in self._identity().items():
            if not isinstance(state, dict) or state.get(name) != here:
                seen = state.get(name) if isinstance(state, dict) else state
                raise ConfigError(f"the saved feed state does not fit: its {name} is {seen!r}, here it is {here!r}")
        if not isinstance(state.get("batches_done"), int) or state["batches_done"] < 0:
            raise ConfigError(
                f"the saved feed state has batches_done {state.get('batches_done')!r}: a number >= 0 is expected"
            )
        for source, skipped in zip(self._sources, state.get("skipped", ())):
            source.remember_skipped(skipped)
        self._start, self._delivered = state["batches_done"], 0

    def batches_left(self) -> None:
        """Returns None: a mixture has no end."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields packed numpy batches from the start state on; `get_state()` follows them."""
        self._delivered = 0
        for number, batch in enumerate(self.batches(), 1):
            self._delivered = number
            yield batch

    def batches(self) -> Iterator[dict[str, Any]]:
        """Yields packed numpy batches from the start state on, made ahead in a thread, without counting them."""
        return self.made_ahead(numpy_batch)

    def made_ahead(self, finish: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yields what `finish` makes, in a thread, of the batches of `engine.feed.batch_builder`; see `Feed.made_ahead`."""
        start = self._start
        ahead = batches_ahead(self.config.prefetch_batches, self.host_batch_size * self.record_bytes)
        return run_ahead(lambda: self._make(start, finish), ahead)

    def _make(self, start: int, finish: Callable[[Any], Any]) -> Iterator[dict[str, Any]]:
        loaders = [WindowLoader(s.source, self.layout, self.config.worker_threads) for s in self._sources]
        makers = [Assembler(s.plan, self.layout, load, s.config) for s, load in zip(self._sources, loaders)]
        try:
            for number in itertools.count(start):
                yield finish(self._batch(makers, number))
        finally:
            for loader in loaders:
                loader.close()

    def _batch(self, makers: list[Assembler], number: int) -> dict[str, Any]:
        first = number * self.config.global_batch_size + self.config.host * self.host_batch_size
        last = first + self.host_batch_size
        parts = []
        for i, (low, high) in enumerate(zip(self.schedule.taken(first).tolist(), self.schedule.taken(last).tolist())):
            part = makers[i].assemble(self._sources[i].plan.stream_runs(low, high), high - low, high - low)
            if "record_ids" in part:
                part["record_ids"] += self._offsets[i]
            parts.append(part)
        # Slot j takes the next record of its source: a stable sort of the sources says which row of the parts that is.
        order = np.argsort(np.argsort(self.schedule.sources(first, last), kind="stable"), kind="stable")
        return {key: _interleave([part[key] for part in parts], order) for key in parts[0]}

    def unpack_numpy(self, packed: dict[str, Any]) -> dict[str, Any]:
        """Returns views by column name; see `Feed.unpack_numpy`."""
        return unpack_numpy(self.layout, packed)

    def dataset(self, num_replicas: int = 1) -> tf.data.Dataset:
        """Returns a tf.data.Dataset of packed batches; see `Feed.dataset`."""
        from engine.feed.tensorflow.dataset import make_dataset

        self._delivered = None
        return make_dataset(self, num_replicas)

    def unpack(self, packed: dict[str, Any]) -> dict[str, Any]:
        """Returns the tensors of a packed batch by feature name; see `Feed.unpack`."""
        from engine.feed.tensorflow.dataset import unpack

        return unpack(self.layout, packed)


def _interleave(parts: list[Any], order: np.ndarray) -> Any:
    if isinstance(parts[0], ByteRows):
        mixed = ByteRows(parts[0].width)
        mixed.append(parts, np.cumsum([0] + [len(part) for part in parts[:-1]]), order)
        return mixed
    if not isinstance(parts[0], tuple):
        return np.concatenate(parts)[order]
    lists = [pa.LargeListArray.from_arrays(splits, pa.array(values)) for values, splits in parts]
    taken = pa.concat_arrays(lists).take(pa.array(order))
    values, splits = taken.flatten(), taken.offsets.to_numpy()
    return values if pa.types.is_large_binary(values.type) else values.to_numpy(), splits - splits[0]


def _difference(left: Layout, right: Layout) -> str:
    for a, b in itertools.zip_longest(left.columns, right.columns):
        if a != b:
            return f"{_said(a)} there, {_said(b)} here"
    return "none"


def _said(column: Any) -> str:
    if column is None:
        return "no column"
    return f"{column.name} ({'ragged ' if column.ragged else ''}{'strings' if column.kind == BYTES else column.kind})"


def mix(
    datasets: Sequence[BlockData],
    weights: Sequence[float],
    *,
    global_batch_size: int,
    seed: int = 0,
    columns: Sequence[str] | None = None,
    **options: Any,
) -> MixedFeed:
    """Returns a feed that draws from several data sets in proportion to the weights.

    Args:
        datasets: opened data sets.
        weights: share of each, any positive numbers.
        global_batch_size: records in a batch over all hosts and sources.
        seed: of the whole; each source's order depends on it and on the source's place in the list.
        columns: names to deliver; by default those of the first data set.
        **options: the other fields of `FeedConfig`, except num_epochs, remainder and lanes. The window counts for each source.

    Raises:
        ConfigError: weights and data sets of different number, or data sets whose columns differ.
    """
    if len(datasets) != len(weights) or not datasets:
        raise ConfigError(f"{len(datasets)} data sets and {len(weights)} weights: give one weight for each data set")
    for name in ("num_epochs", "remainder", "lanes"):
        if name in options:
            raise ConfigError(f"{name} does not go with a mixture: it is endless and carries over")
    if options.get("bucket_by_length") is not None:
        raise ConfigError(
            "bucket_by_length does not go with a mixture: its batches take a changing number of records from each source"
        )
    schedule = MixSchedule(weights=tuple(weights), global_batch_size=global_batch_size)
    names = list(columns) if columns is not None else datasets[0].schema.names
    whole = FeedConfig(
        global_batch_size=global_batch_size, seed=seed, columns=names, remainder=Remainder.CARRY, **options
    )
    sources = []
    for number, dataset in enumerate(datasets):
        own: Mapping[str, Any] = {
            **{k: v for k, v in options.items() if k not in ("host", "num_hosts")},
            "global_batch_size": max(1, int(schedule.period_counts[number]) // schedule.period),
            "seed": derive_key(seed, number),
        }
        config = FeedConfig(columns=names, remainder=Remainder.CARRY, **own)
        sources.append(feed_of(dataset, config))
    return MixedFeed(sources, schedule, whole)
