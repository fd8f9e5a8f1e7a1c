"""Vocabulary files: text, one token a line, or gzip TFRecord, one token a record; before it the frequency if wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.accumulators.vocabulary.runs import Run

__all__ = ["format_entries", "write_vocabulary"]


def format_entries(run: Run, store_frequency: bool) -> pa.Array:
    """Returns the file's entries (large_binary): `token`, or `frequency token`."""
    if not store_frequency:
        return run.tokens
    if run.scores.dtype.kind == "i":
        texts = pa.array(run.scores).cast(pa.string())
    else:
        # -0.0 is an integer zero: see vocabulary_mutual_information.
        texts = pa.array(["0" if str(s) == "-0.0" else str(s) for s in run.scores.tolist()], pa.string())
    return pc.binary_join_element_wise(texts.cast(pa.large_binary()), run.tokens, pa.scalar(b" ", pa.large_binary()))


def _lines(entries: pa.Array) -> memoryview:
    empty, line_break = pa.scalar(b"", pa.large_binary()), pa.scalar(b"\n", pa.large_binary())
    joined = pc.binary_join_element_wise(entries, empty, line_break)
    _, offset_buffer, data = joined.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)
    start, stop = int(offsets[joined.offset]), int(offsets[joined.offset + len(joined)])
    return memoryview(data)[start:stop]


def write_vocabulary(blocks: Iterable[Run], path: str, file_format: str, store_frequency: bool) -> int:
    """Writes a vocabulary and returns its number of entries.

    Args:
        blocks: entries in their final order.
        path: file, local or one that TensorFlow opens (`gs://`); it lies in a directory that is renamed into place when the whole
            transform graph is written, or in a temporary one.
        file_format: "text" or "tfrecord_gzip".
        store_frequency: whether each entry begins with its frequency.
    """
    written = 0
    if file_format == "text":
        with _opened(path) as file:
            for run in _not_empty(blocks):
                lines = _lines(format_entries(run, store_frequency))
                file.write(lines if _is_local(path) else lines.tobytes())  # TensorFlow's files take no view
                written += len(run)
        return written
    import tensorflow as tf

    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for run in _not_empty(blocks):
            for entry in format_entries(run, store_frequency).to_pylist():
                writer.write(entry)
            written += len(run)
    return written


def _is_local(path: str) -> bool:
    return "://" not in path


def _opened(path: str) -> Any:
    if _is_local(path):
        return open(path, "wb")
    import tensorflow as tf

    return tf.io.gfile.GFile(path, "wb")


def _not_empty(blocks: Iterable[Run]) -> Iterator[Run]:
    return (run for run in blocks if len(run))
