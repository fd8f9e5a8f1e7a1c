"""The training feed: packed batches of one host, exact over restarts and changes of the number of hosts."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError
from engine.feed.batch_builder import Assembler
from engine.feed.blocks.block_reader import BlockReader, BlockSource
from engine.feed.blocks.dataset_reader import DatasetReader
from engine.feed.blocks.pieces import BlockPieces
from engine.feed.columns import make_layout, numpy_batch, unpack_numpy
from engine.feed.config import FeedConfig
from engine.feed.protocols import BlockData
from engine.feed.windows import WindowLoader
from engine.machine.ahead import batches_ahead, run_ahead
from engine.plan import Cursor, EpochPlan, Window, dump_state, load_state
from engine.schema.lists import value_lengths

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = ["Feed", "feed_of"]


class Feed:
    """Batches of a data set for one host of a training job.

    Each iteration (`iter(feed)`, or a pass over `feed.dataset()`) begins at the start state: the very first record, or
    what `set_state` gave. Batches are packed: see `engine.feed.columns`.

    Args:
        reader: reads blocks by number.
        block_records: int [num_blocks], records of each block in the order of the global record ids.
        fingerprint: hash of the data set's manifest; a state only fits the data it was made on.
        config: see `FeedConfig`.
        record_bytes: what a record takes in memory, about; 0 where nothing is known.
    """

    def __init__(
        self,
        reader: BlockReader,
        block_records: np.ndarray,
        fingerprint: str,
        config: FeedConfig,
        record_bytes: float = 0.0,
    ) -> None:
        self.config = config
        self.record_bytes = record_bytes
        self.plan = EpochPlan(block_records, config.plan_config(record_bytes))
        self.layout = make_layout(reader.schema, config.columns, config.fill)
        self._check_buckets()
        self.fingerprint = fingerprint
        first: np.ndarray = np.zeros(len(block_records) + 1, np.int64)
        np.cumsum(block_records, out=first[1:])
        self.source = BlockSource(reader, self.layout.names, first, config)
        self._start = Cursor()
        self._delivered: int | None = 0

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in an epoch; under CARRY the number varies by one: this is the first epoch's."""
        return self.plan.num_batches()

    @property
    def host_batch_size(self) -> int:
        """Records that each batch of this feed holds."""
        return self.plan.host_batch_size

    @property
    def skipped(self) -> list[int]:
        """Global ids of the damaged records that were left out so far, as far as this host saw them."""
        return self.source.skipped

    def get_state(self, num_batches: int | None = None) -> dict[str, Any]:
        """Returns the JSON-able state after a number of batches.

        Args:
            num_batches: batches consumed since the start state; by default those that the latest `iter(feed)` gave out.
                It must be given when the feed is consumed through `dataset()`, which runs ahead of its consumer.

        Raises:
            ConfigError: no number was given and it is not known.
        """
        count = self._delivered if num_batches is None else num_batches
        if count is None:
            raise ConfigError(
                "the feed is read through tf.data, which runs ahead: give get_state(num_batches=consumed)"
            )
        if count < 0:
            raise ConfigError(f"num_batches is {count}: give a number >= 0")
        return dump_state(self.plan, self.fingerprint, self.plan.advance(self._start, count), self.skipped)

    def set_state(self, state: dict[str, Any]) -> None:
        """Makes the state the start of every iteration begun from now on.

        Raises:
            ConfigError: the state belongs to other data, another seed, global batch size or order; nothing is changed.
        """
        self._start, skipped = load_state(self.plan, self.fingerprint, state)
        self.remember_skipped(skipped)
        self._delivered = 0

    def remember_skipped(self, skipped: Sequence[int]) -> None:
        """Counts ids of damaged records from a saved state as skipped already."""
        self.source.remember(skipped)

    def batches_left(self) -> int | None:
        """Returns the number of batches from the start state to the end, None where there is no end."""
        if self.config.num_epochs is None:
            return None
        return max(0, self.plan.total_batches(self.config.num_epochs) - self.plan.batch_number(self._start))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields packed numpy batches from the start state on; `get_state()` follows them."""
        self._delivered = 0
        for number, batch in enumerate(self.batches(), 1):
            self._delivered = number
            yield batch

    def batches(self) -> Iterator[dict[str, Any]]:
        """Yields packed numpy batches from the start state on, made ahead in a thread, without counting them."""
        return self.made_ahead(numpy_batch)

    def made_ahead(
        self, finish: Callable[[dict[str, Any]], dict[str, Any]], one_buffer: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Yields batches as `batches` does, but what `finish` makes, in that thread, of those of `engine.feed.batch_builder`."""
        start, left = self.plan.batch_number(self._start), self.batches_left()
        ahead = batches_ahead(self.config.prefetch_batches, self.host_batch_size * self.record_bytes)
        return run_ahead(lambda: self._make(start, left, finish, one_buffer), ahead)

    def _make(
        self, number: int, left: int | None, finish: Callable[[Any], Any], one_buffer: bool
    ) -> Iterator[dict[str, Any]]:
        regroup = self._regrouped if self.config.bucket_by_length is not None else None
        loader = WindowLoader(self.source, self.layout, self.config.worker_threads, regroup)
        assembler = Assembler(self.plan, self.layout, loader, self.config, one_buffer)
        try:
            for step in itertools.count(number) if left is None else range(number, number + left):
                yield finish(assembler.batch(self.plan.cursor(step)))
        finally:
            loader.close()

    def _check_buckets(self) -> None:
        name, lists = self.config.bucket_by_length, [column.name for column in self.layout.ragged]
        if name is not None and name not in lists:
            raise ConfigError(
                f"bucket_by_length: no list column {name!r} is read; the list columns here are {', '.join(lists) or 'none'}"
            )

    def _regrouped(self, window: Window, rows: np.ndarray, columns: Mapping[str, pa.Array]) -> np.ndarray:
        assert self.config.bucket_by_length is not None
        return self.plan.regrouped(window, rows, value_lengths(columns[self.config.bucket_by_length]))

    def unpack_numpy(self, packed: dict[str, Any]) -> dict[str, Any]:
        """Returns views by column name: [b, *shape], or (values, row_splits) of a ragged column; and mask, record_ids."""
        return unpack_numpy(self.layout, packed)

    def dataset(self, num_replicas: int = 1, one_buffer: bool = False) -> tf.data.Dataset:
        """Returns a tf.data.Dataset of packed batches that begins at the start state.

        tf.data's autotuning is off in it, and in what is built on it: there `tf.data.AUTOTUNE` means as many calls as there
        are processors, 16 at most, unless later options turn it on again.

        Args:
            num_replicas: replicas of this host. Each element is then one replica's part, host_batch_size / num_replicas
                records, replica after replica: what `strategy.distribute_datasets_from_function` wants.
            one_buffer: let a batch of numbers be one tensor of bytes, "one_buffer", where it can be: large batches of both types
                for one replica. An accelerator then takes one copy a batch. `unpack` takes it apart, but no rows sliced from it.
        """
        from engine.feed.tensorflow.dataset import make_dataset

        self._delivered = None
        return make_dataset(
            self, num_replicas, functools.partial(self.made_ahead, one_buffer=True) if one_buffer else None
        )

    def unpack(self, packed: dict[str, tf.Tensor]) -> dict[str, Any]:
        """Returns the tensors of a packed batch by feature name, and its `mask` and `record_ids` where it has them.

        Pure TensorFlow: call it inside the training step's tf.function, on a packed batch or on rows sliced from one.
        """
        from engine.feed.tensorflow.dataset import unpack

        return unpack(self.layout, packed)


def feed_of(dataset: BlockData, config: FeedConfig) -> Feed:
    """Returns the feed of a data set; blocks that are larger than memory is to hold are read in pieces."""
    manifest, reader = dataset.manifest, DatasetReader(dataset)
    record_bytes = reader.record_bytes(config.columns)
    pieces = BlockPieces(reader, manifest.block_records(), record_bytes)
    # A state of whole blocks has another order of records.
    fingerprint = manifest.hash if pieces.piece_rows is None else f"{manifest.hash}-{pieces.piece_rows}"
    return Feed(pieces, pieces.block_records, fingerprint, config, record_bytes)
