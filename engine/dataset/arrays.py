"""Data that is already in memory, with the interface of `engine.Dataset` that training needs: for tests and small data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError
from engine.feed.columns import RESERVED
from engine.plan import EpochPlan, Remainder, dump_state, load_state

__all__ = ["ArrayDataset", "ArrayFeed"]

_BLOCK_RECORDS = 1024
_KINDS = {"float32": pa.float32(), "int64": pa.int64()}


class ArrayDataset:
    """A data set of numpy columns.

    Args:
        columns: name to array, first axis is the record; float columns become float32, integer columns int64. Shapes
            [n] or [n, k].

    Raises:
        ConfigError: no column, columns of different length, or a type that is neither integer nor float.
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        arrays = {name: _checked(name, values) for name, values in columns.items()}
        lengths = {name: len(a) for name, a in arrays.items()}
        if len(set(lengths.values())) != 1:
            raise ConfigError(f"all columns need the same number of records, at least one column: {lengths}")
        self.columns = arrays
        self.num_records = next(iter(lengths.values()))
        self.schema = pa.schema([_field(name, a) for name, a in arrays.items()])

    def fingerprint(self) -> str:
        """Returns a hash of names, types and bytes: what a checkpoint refuses another data set by."""
        digest = hashlib.blake2b(digest_size=16)
        for name, array in self.columns.items():
            digest.update(f"{name}:{array.dtype}:{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()

    def feature_spec(self) -> dict[str, Any]:
        """Returns the columns as TensorFlow parsing features. Imports TensorFlow."""
        import tensorflow as tf

        return {n: tf.io.FixedLenFeature(a.shape[1:], tf.as_dtype(a.dtype)) for n, a in self.columns.items()}

    def feed(
        self,
        global_batch_size: int,
        seed: int = 0,
        host: int = 0,
        num_hosts: int = 1,
        columns: list[str] | None = None,
        shuffle: bool = True,
        num_epochs: int | None = None,
        remainder: Remainder = Remainder.DROP,
        with_record_ids: bool = False,
        window_records: int | None = None,
    ) -> ArrayFeed:
        """Returns one host's part of every global batch. Arguments as `engine.Dataset.feed` has them."""
        blocks: np.ndarray = np.full(-(-self.num_records // _BLOCK_RECORDS), _BLOCK_RECORDS, np.int64)
        blocks[-1] = self.num_records - _BLOCK_RECORDS * (len(blocks) - 1)
        plan = EpochPlan(
            blocks, global_batch_size=global_batch_size, seed=seed, num_hosts=num_hosts, shuffle=shuffle,
            remainder=remainder,
            window_records=window_records,
        )  # fmt: skip
        chosen = self.columns if columns is None else {name: self.columns[name] for name in columns}
        return ArrayFeed(chosen, plan, self.fingerprint(), host, num_epochs, with_record_ids)


class ArrayFeed:
    """Batches of an `ArrayDataset` in the order of an epoch plan; see `engine.Dataset.feed` for the interface."""

    def __init__(
        self, columns: dict[str, np.ndarray], plan: EpochPlan, fingerprint: str, host: int, num_epochs: int | None,
        with_record_ids: bool,
    ) -> None:  # fmt: skip
        self.plan, self.host = plan, host
        self._fingerprint, self._num_epochs, self._with_ids = fingerprint, num_epochs, with_record_ids
        self._start = plan.cursor(0)
        self._layout: dict[str, tuple[str, int, int, tuple[int, ...]]] = {}
        self._packed: dict[str, np.ndarray] = {}
        for kind in _KINDS:
            at, parts = 0, []
            for name, array in columns.items():
                if array.dtype.name == kind:
                    flat = array.reshape(len(array), -1)
                    self._layout[name] = (kind, at, at + flat.shape[1], array.shape[1:])
                    at += flat.shape[1]
                    parts.append(flat)
            if parts:
                self._packed[kind] = np.concatenate(parts, axis=1)

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in an epoch."""
        return self.plan.num_batches(0)

    def get_state(self, num_batches: int | None = None) -> dict[str, Any]:
        """Returns the state after `num_batches` batches since the last `set_state` (or the beginning)."""
        return dump_state(self.plan, self._fingerprint, self.plan.advance(self._start, num_batches or 0))

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where the state was taken; `dataset()` called after it starts there."""
        self._start, _ = load_state(self.plan, self._fingerprint, state)

    def dataset(self) -> Any:
        """Returns a tf.data.Dataset of packed batches from the current state on."""
        import tensorflow as tf

        from engine.feed.tensorflow.dataset import settle

        first = self.plan.batch_number(self._start)
        last = None if self._num_epochs is None else self.plan.total_batches(self._num_epochs)
        count = tf.int64.max if last is None else last - first
        numbers = tf.data.Dataset.range(first, first + count if last is not None else count)
        tables = {kind: tf.constant(table) for kind, table in self._packed.items()}
        size, padded = self.plan.host_batch_size, self.plan.config.remainder is Remainder.PAD
        static = size if self.plan.config.remainder is not Remainder.PARTIAL else None

        @tf.autograph.experimental.do_not_convert  # nothing to convert, and converting takes long at each start
        def batch(number: Any) -> Any:
            ids = tf.ensure_shape(tf.numpy_function(self._ids, [number], tf.int64), [static])
            rows = tf.maximum(ids, 0)
            out = {kind: tf.gather(table, rows) for kind, table in tables.items()}
            if padded:
                out["mask"] = ids >= 0
            if self._with_ids:
                out["record_ids"] = ids
            return out

        dataset = numbers.map(batch, num_parallel_calls=1).prefetch(16)
        if last is None:
            dataset = dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        options = tf.data.Options()
        settle(options)
        return dataset.with_options(options)

    def unpack(self, packed: Mapping[str, Any]) -> dict[str, Any]:
        """Returns feature name to tensor [b, ...] of a packed batch; pure TensorFlow."""
        import tensorflow as tf

        out = {name: packed[name] for name in ("mask", "record_ids") if name in packed}
        for name, (kind, start, stop, shape) in self._layout.items():
            part = packed[kind][:, start:stop]
            out[name] = tf.squeeze(part, axis=1) if shape == () else tf.reshape(part, [-1, *shape])
        return out

    def _ids(self, number: int) -> np.ndarray:
        ids = self.plan.record_ids(self.plan.cursor(int(number)), self.host)
        if len(ids) < self.plan.host_batch_size and self.plan.config.remainder is Remainder.PAD:
            ids = np.concatenate([ids, np.full(self.plan.host_batch_size - len(ids), -1, np.int64)])
        return ids


def _checked(name: str, values: Any) -> np.ndarray:
    if name in RESERVED:
        raise ConfigError(f"column {name!r} has a name that the feed uses itself: rename it")
    array = np.asarray(values)
    if array.ndim < 1 or array.dtype.kind not in "iufb":
        raise ConfigError(f"column '{name}' is {array.dtype} of shape {array.shape}: give integers or floats [n, ...]")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ConfigError(f"column '{name}' has {array.max()}, which is more than int64 holds: give smaller numbers")
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64, copy=False)


def _field(name: str, array: np.ndarray) -> pa.Field:
    kind = _KINDS[array.dtype.name]
    if array.ndim > 1:
        kind = pa.list_(kind, int(np.prod(array.shape[1:])))
    return pa.field(name, kind, nullable=False)
