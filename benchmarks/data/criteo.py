"""Rows shaped like Criteo's click logs: a label, 13 floats of which a tenth is missing, 26 strings of eight characters."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from engine import write_batches

__all__ = ["NUM_ROWS", "SCHEMA", "batches", "feature_spec", "file"]

NUM_ROWS = 1_000_000
CATEGORIES = (
    1460, 583, 1_000_000, 400_000, 305, 24, 12517, 633, 3, 93145, 5683, 800_000, 3194, 27, 14992, 500_000, 10, 5652, 2173, 4,
    700_000, 18, 15, 286181, 105, 142572,
)  # fmt: skip
SCHEMA = pa.schema(
    [pa.field("label", pa.int64(), nullable=False)]
    + [pa.field(f"I{i}", pa.float32()) for i in range(1, 14)]
    + [pa.field(f"C{i}", pa.binary(), nullable=False) for i in range(1, 27)]
)
_BATCH_ROWS = 50_000


def batches(num_rows: int = NUM_ROWS, seed: int = 20) -> Iterator[pa.RecordBatch]:
    """Yields `num_rows` rows that depend on the seed alone."""
    rng = np.random.default_rng(seed)
    for start in range(0, num_rows, _BATCH_ROWS):
        rows = min(_BATCH_ROWS, num_rows - start)
        columns = [pa.array(rng.integers(0, 2, rows), pa.int64())]
        for _ in range(13):
            values = np.floor(rng.lognormal(2, 2, rows)).astype(np.float32)
            columns.append(pa.array(values, pa.float32(), mask=rng.random(rows) < 0.1))
        columns += [_strings(rng, rows, count, index) for index, count in enumerate(CATEGORIES)]
        yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _strings(rng: np.random.Generator, rows: int, count: int, index: int) -> pa.Array:
    """Eight hexadecimal digits; how often each value occurs falls off as a power law does."""
    ranks = np.minimum(count * rng.random(rows) ** 3, count - 1).astype(np.uint64)
    codes = (ranks * np.uint64(2654435761) + np.uint64(index * 40503)) & np.uint64(0xFFFFFFFF)
    digits = (codes[:, None] >> np.arange(28, -1, -4, dtype=np.uint64)) & np.uint64(15)
    text = np.frombuffer(b"0123456789abcdef", np.uint8)[digits.astype(np.intp)]
    offsets: np.ndarray = np.arange(0, 8 * rows + 1, 8, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text))]
    )


def feature_spec() -> dict:
    """Returns the TensorFlow feature spec of the rows: a missing float is 0."""
    import tensorflow as tf

    spec = {"label": tf.io.FixedLenFeature([], tf.int64)}
    spec |= {f"I{i}": tf.io.FixedLenFeature([], tf.float32, 0.0) for i in range(1, 14)}
    return spec | {f"C{i}": tf.io.FixedLenFeature([], tf.string) for i in range(1, 27)}


def file(format: str = "tfrecord", compression: str | None = None, num_rows: int = NUM_ROWS) -> str:
    """Returns the path of a file of the rows, written at the first call and kept in ~/.cache/fullpass/benchmarks."""
    directory = Path(os.environ.get("FULLPASS_BENCH_CACHE", "~/.cache/fullpass/benchmarks")).expanduser()
    path = directory / f"criteo-v1-{num_rows}.{format}{'.' + compression if compression else ''}"
    if not path.exists():
        write_batches(batches(num_rows), SCHEMA, str(path), format, compression)
    return str(path)
