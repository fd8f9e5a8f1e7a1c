"""Rows of a click log whose words are numbers already: a label, 13 float32 and 26 int64 below 50,000, the small ones more often."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from engine import Dataset, write_batches
from engine.storage.atomic import atomic_directory

__all__ = ["FLOATS", "INTS", "WORDS", "parquet"]

WORDS, _SHARDS, _AT_ONCE = 50_000, 32, 250_000
FLOATS, INTS = [f"f{i}" for i in range(13)], [f"c{i}" for i in range(26)]
_SCHEMA = pa.schema(
    [pa.field("label", pa.int64(), False)]
    + [pa.field(name, pa.float32(), False) for name in FLOATS]
    + [pa.field(name, pa.int64(), False) for name in INTS]
)


def _batches(num_rows: int) -> Iterator[pa.RecordBatch]:
    rng = np.random.default_rng(5)
    for first in range(0, num_rows, _AT_ONCE):
        rows = min(_AT_ONCE, num_rows - first)
        floats = rng.standard_normal((len(FLOATS), rows), np.float32)
        ints = (WORDS * rng.random((len(INTS), rows)) ** 3).astype(np.int64)
        score = floats[0] + 0.5 * floats[1] * floats[2] + ((ints[0] % 7) - 3) * 0.5
        label = (rng.random(rows) < 1 / (1 + np.exp(-score))).astype(np.int64)
        yield pa.RecordBatch.from_arrays([pa.array(column) for column in (label, *floats, *ints)], schema=_SCHEMA)


def parquet(num_rows: int) -> Dataset:
    """Returns the rows as our Parquet shards, which are made once in FULLPASS_BENCH_CACHE."""
    root = Path(os.environ.get("FULLPASS_BENCH_CACHE", "~/.cache/fullpass/benchmarks")).expanduser()
    path = root / f"click-numbers-v1-{num_rows}"
    if not path.exists():
        with atomic_directory(root / f"{path.name}-one") as one:
            write_batches(_batches(num_rows), _SCHEMA, str(one / "rows.parquet"), "parquet")
        Dataset.open(str(root / f"{path.name}-one")).write(path, "parquet", _SHARDS)
        shutil.rmtree(root / f"{path.name}-one")
    return Dataset.open(str(path))
