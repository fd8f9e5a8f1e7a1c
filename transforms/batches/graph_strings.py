"""Strings on their way into a TensorFlow graph and out of it: a block of bytes with lengths, never a Python object a value.

TensorFlow takes and gives numpy arrays of Python objects, made one by one under the interpreter's lock: threads wait for each
other, and a string costs more on the way than in the operation it went there for. Going in, strings are one TensorProto that
TensorFlow takes apart itself; coming out, the graph joins them to one string and gives their lengths beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import DataError

__all__ = [
    "Strings",
    "StringsTooLarge",
    "as_strings",
    "eager_strings",
    "eager_tensor",
    "parse_proto",
    "strings_of",
    "taken_apart",
]

LIMIT_BYTES = (1 << 31) - (1 << 10)  # of one message, whatever its kind: protobuf's


class StringsTooLarge(Exception):
    """The strings of a batch do not fit into one message; those of a part of the batch may."""


@dataclasses.dataclass(frozen=True)
class Strings:
    """A tensor of strings.

    Attributes:
        values: flat, binary or large_binary, without nulls.
        shape: of the tensor.
    """

    values: pa.Array
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.values)

    def reshape(self, *shape: int) -> Strings:
        """Returns the same strings in another shape, which may have one -1."""
        rest = int(np.prod([size for size in shape if size >= 0], dtype=np.int64))
        return Strings(self.values, tuple(len(self.values) // max(rest, 1) if size < 0 else size for size in shape))

    def to_numpy(self) -> np.ndarray:
        """Returns an object array of bytes."""
        texts: np.ndarray = self.values.to_numpy(zero_copy_only=False).reshape(self.shape)
        return texts

    def proto(self) -> bytes:
        """Returns the serialized TensorProto.

        Raises:
            StringsTooLarge: when a message cannot hold them.
            DataError: when it cannot hold a single one of them.
        """
        from engine._native import ByteRows, string_tensor

        _, offsets, data = self.values.buffers()
        kind = np.int64 if pa.types.is_large_binary(self.values.type) else np.int32
        start, count = self.values.offset, len(self.values)
        ends = np.frombuffer(offsets, kind)[start : start + count + 1] if offsets is not None else np.zeros(1, kind)
        rows = ByteRows.from_columns([(ends, b"" if data is None else data, 1)], count)
        if rows.content_bytes(0, count) > LIMIT_BYTES:
            if int(np.diff(ends).max()) + 16 > LIMIT_BYTES:
                raise DataError(f"a string takes more than {LIMIT_BYTES:,} bytes, which TensorFlow cannot be given")
            raise StringsTooLarge(f"{count} strings take {rows.content_bytes(0, count):,} bytes")
        return string_tensor([(rows, 0, count)], list(self.shape))


def as_strings(values: Any, shape: Sequence[int] | None = None) -> Strings:
    """Returns strings of an Arrow array, or of a numpy array of them.

    Args:
        values: strings or bytes without nulls, plain or dictionary-encoded; or numpy of any shape.
        shape: of the tensor; None for that of numpy, or flat.
    """
    if not isinstance(values, pa.Array):
        array = np.asarray(values)
        return as_strings(
            pa.array(array.reshape(-1).tolist(), pa.large_binary()), array.shape if shape is None else shape
        )
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not (pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type)):
        values = values.cast(pa.large_binary())
    return Strings(values, (len(values),) if shape is None else tuple(shape))


def strings_of(joined: bytes, lengths: np.ndarray, shape: Sequence[int]) -> Strings:
    """Returns the strings that `taken_apart` gave the parts of, without a copy of their bytes.

    Raises:
        RuntimeError: the lengths do not add up to the bytes, a fault of ours.
    """
    kind: Any = np.int32 if len(joined) < 1 << 31 else np.int64
    ends: np.ndarray = np.zeros(lengths.size + 1, kind)
    np.cumsum(lengths, out=ends[1:], dtype=kind)
    if int(ends[-1]) != len(joined):
        raise RuntimeError(f"strings of {int(ends[-1])} bytes came as {len(joined)} bytes")
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(joined)]
    values = pa.Array.from_buffers(pa.binary() if kind is np.int32 else pa.large_binary(), lengths.size, buffers)
    return Strings(values, tuple(int(size) for size in shape))


def parse_proto(proto: Any, static_shape: Any = None) -> Any:
    """Returns the tensor of a serialized TensorProto; eager, or an operation of the graph that is built."""
    import tensorflow as tf

    tensor = tf.raw_ops.ParseTensor(serialized=proto, out_type=tf.string)
    if static_shape is not None:
        tensor.set_shape(static_shape)
    return tensor


def taken_apart(tensor: Any) -> list[Any]:
    """Returns [all strings as one, int32 length of each, shape], as operations of the graph that is built, or eager."""
    import tensorflow as tf

    flat = tf.reshape(tensor, [-1])
    joined = tf.raw_ops.ReduceJoin(inputs=flat, reduction_indices=[0])
    return [joined, tf.raw_ops.StringLength(input=flat), tf.shape(tensor)]


def eager_tensor(value: Any) -> Any:
    """Returns numbers or `Strings` as an eager tensor."""
    import tensorflow as tf

    if isinstance(value, Strings):
        return parse_proto(value.proto())
    return tf.constant(value)


def eager_strings(tensor: Any) -> Any:
    """Returns an eager tensor as numpy, or strings as `Strings`."""
    import tensorflow as tf

    if tensor.dtype != tf.string:
        return tensor.numpy()
    joined, lengths, shape = taken_apart(tensor)
    return strings_of(joined.numpy(), lengths.numpy(), shape.numpy())
