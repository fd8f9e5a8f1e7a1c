"""Strings handed to TensorFlow as the bytes of TensorProtos, which TensorFlow takes apart in its own threads.

A Python object for every string costs more than reading it: made, moved and freed one by one under the interpreter's lock.
A TensorProto is one object a batch. TensorFlow's format for `tensor_content` of DT_STRING, lengths followed by contents,
is how rows lie in memory here already (`engine/native/rows/byte_rows.h`), so making one is copying two blocks.

Of large strings, images for one, it is the copies that cost, since each takes fresh pages from the system: they go as they are, with
one dimension more, which tells them from TensorProtos.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from engine._native import ByteRows, string_tensor
from engine.core.errors import DataError

__all__ = ["parse_strings", "string_protos"]

_LARGE = 4096  # bytes of a string, in the mean, from which on an object for each costs less than two more copies
LIMIT_BYTES = (1 << 31) - (1 << 10)  # of one message, whatever its kind: protobuf's

Slice = tuple[ByteRows, int, int]


def string_protos(parts: Sequence[Slice]) -> np.ndarray:
    """Returns each part as serialized TensorProtos: one, or as many for all as keep each below protobuf's 2 GiB; or as its strings.

    Args:
        parts: (rows, begin, end) each.

    Returns:
        object [parts, pieces] of bytes: the strings of a part's pieces, one after the other, are those of its rows. Where strings are
        large, object [parts, 1, strings]: themselves.

    Raises:
        DataError: a single row takes 2 GiB.
    """
    counts = {(end - begin) * rows.width for rows, begin, end in parts}
    if len(counts) == 1 and sum(map(_size, parts)) > _LARGE * len(parts) * max(counts):
        return _as_they_are(parts, *counts)
    pieces = 1
    while (cuts := [_cut(part, pieces) for part in parts]) and max(_size(p) for cut in cuts for p in cut) > LIMIT_BYTES:
        if pieces > max(end - begin for _, begin, end in parts):
            raise DataError(
                f"the strings of one record take more than {LIMIT_BYTES:,} bytes, which TensorFlow cannot be handed: leave the "
                "column with them out of `columns`"
            )
        pieces *= 2
    protos: np.ndarray = np.empty((len(parts), pieces), object)
    for i, cut in enumerate(cuts):
        protos[i] = [string_tensor([p], [(p[2] - p[1]) * p[0].width]) for p in cut]
    return protos


def _as_they_are(parts: Sequence[Slice], count: int) -> np.ndarray:
    out: np.ndarray = np.empty((len(parts), 1, count), object)
    made: dict[int, np.ndarray] = {}  # several parts are of one batch
    for i, (rows, begin, end) in enumerate(parts):
        if id(rows) not in made:
            made[id(rows)] = np.empty((len(rows), rows.width), object)
            rows.to_objects(made[id(rows)])
        out[i, 0] = made[id(rows)][begin:end].ravel()
    return out


def _cut(part: Slice, pieces: int) -> list[Slice]:
    rows, begin, end = part
    edges = [begin + (end - begin) * i // pieces for i in range(pieces + 1)]
    return [(rows, start, stop) for start, stop in itertools.pairwise(edges)]


def _size(part: Slice) -> int:
    return part[0].content_bytes(part[1], part[2])


def parse_strings(protos: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Returns the strings of one part.

    Args:
        protos: string [pieces] or [1, strings], a row of what `string_protos` gives.
        shape: of the result; -1 for a size that is not known.
    """

    pieces = tf.reshape(protos, [-1])

    def several() -> tf.Tensor:
        count = tf.size(pieces)
        held = tf.TensorArray(tf.string, count, infer_shape=False, element_shape=[None])
        _, held = tf.while_loop(
            lambda i, _: i < count,
            lambda i, held: (i + 1, held.write(i, tf.io.parse_tensor(pieces[i], tf.string))),
            (0, held),
        )
        return held.concat()

    def parsed() -> tf.Tensor:
        return tf.cond(tf.equal(tf.size(pieces), 1), lambda: tf.io.parse_tensor(pieces[0], tf.string), several)

    return tf.reshape(tf.cond(tf.equal(tf.rank(protos), 1), parsed, lambda: pieces), shape)
