"""What a feed asks of a data set, and what training asks of data and of their feed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from engine.plan import Remainder

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from engine.formats.split import Split

__all__ = ["BlockData", "BlockManifest", "StoredFile", "TrainingData", "TrainingFeed"]


class StoredFile(Protocol):
    """What a manifest says of a file."""

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        ...

    @property
    def records(self) -> int:
        """How many it holds."""
        ...

    @property
    def compression(self) -> str | None:
        """How the whole file is packed, None where it is not."""
        ...


class BlockManifest(Protocol):
    """The blocks of a data set, in the order of the global record ids."""

    @property
    def files(self) -> Sequence[StoredFile]:
        """In the order of their records."""
        ...

    @property
    def hash(self) -> str:
        """What a feed's state is refused by where the data are others."""
        ...

    def block_records(self) -> np.ndarray:
        """Returns int64 [num_blocks], records of each block."""
        ...

    def block_split(self, index: int) -> Split:
        """Returns the split that holds one block."""
        ...


class BlockData(Protocol):
    """What a feed asks of a data set: `engine.Dataset` has it."""

    @property
    def schema(self) -> pa.Schema:
        """Columns of the records."""
        ...

    @property
    def manifest(self) -> BlockManifest:
        """Counts and blocks of every file."""
        ...


class TrainingFeed(Protocol):
    """What training asks of a feed: that of `engine.Dataset`, of a mixture, and of `engine.dataset.arrays.ArrayDataset` have it."""

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in an epoch."""
        ...

    def get_state(self, num_batches: int | None = None) -> dict[str, Any]:
        """Returns the JSON-able state after a number of batches since the start state."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Makes the state the start of every iteration begun from now on."""
        ...

    def dataset(self) -> tf.data.Dataset:
        """Returns packed batches from the start state on."""
        ...

    def unpack(self, packed: dict[str, Any]) -> dict[str, Any]:
        """Returns the tensors of a packed batch by column name, and its `mask` and `record_ids` where it has them."""
        ...


class TrainingData(Protocol):
    """What training asks of its data: `engine.Dataset` and `engine.dataset.arrays.ArrayDataset` have it."""

    @property
    def schema(self) -> pa.Schema:
        """Columns of the records."""
        ...

    @property
    def num_records(self) -> int:
        """Records in all."""
        ...

    def feature_spec(self) -> dict[str, Any]:
        """Returns the columns as TensorFlow parsing features."""
        ...

    def feed(
        self,
        *,
        global_batch_size: int,
        seed: int = ...,
        host: int = ...,
        num_hosts: int = ...,
        columns: list[str] | None = ...,
        shuffle: bool = ...,
        num_epochs: int | None = ...,
        remainder: Remainder = ...,
        with_record_ids: bool = ...,
        window_records: int | None = ...,
    ) -> TrainingFeed:
        """Returns the batches of one host; see `engine.feed.config.FeedConfig`."""
        ...
