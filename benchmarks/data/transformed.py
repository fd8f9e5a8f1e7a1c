"""A million transformed rows, 40 numeric columns (13 float32, 27 int64), in the forms that the feeds read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from engine import Dataset, write_batches
from engine.storage.atomic import atomic_directory, atomic_file

__all__ = [
    "BATCH_SIZE",
    "FLOATS",
    "INTS",
    "NUM_ROWS",
    "SCHEMA",
    "WINDOW",
    "array_records",
    "arrays",
    "packed_file",
    "parquet",
    "tar_shards",
    "tfrecords",
]

NUM_ROWS, NUM_SHARDS, BATCH_SIZE, WINDOW = 1_000_000, 16, 8192, 65_536
FLOATS, INTS = [f"f{i}" for i in range(13)], [f"c{i}" for i in range(27)]
SCHEMA = pa.schema([pa.field(n, pa.float32(), False) for n in FLOATS] + [pa.field(n, pa.int64(), False) for n in INTS])


def arrays(num_rows: int = NUM_ROWS, seed: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Returns float32 [rows, 13], standard normal, and int64 [rows, 27], vocabulary indices below 10 to 1,000,000."""
    rng = np.random.default_rng(seed)
    floats = rng.standard_normal((num_rows, len(FLOATS)), np.float32)
    return floats, np.stack([rng.integers(0, 10 ** (1 + i % 6), num_rows) for i in range(len(INTS))], axis=1)


def _batches(num_rows: int) -> Iterator[pa.RecordBatch]:
    for first in range(0, num_rows, NUM_ROWS):
        floats, ints = arrays(min(NUM_ROWS, num_rows - first), seed=40 + first)
        columns = [pa.array(np.ascontiguousarray(c)) for part in (floats, ints) for c in part.T]
        yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _home(name: str) -> Path:
    root = os.environ.get("FULLPASS_BENCH_CACHE", "~/.cache/fullpass/benchmarks")
    return Path(root).expanduser() / f"transformed-v1-{name}"


def parquet(num_rows: int = NUM_ROWS) -> Dataset:
    """Returns the rows as our Parquet shards."""
    path = _home(f"{num_rows}-parquet")
    if not path.exists():
        with atomic_directory(path.parent / f"{path.name}-one") as one:
            write_batches(_batches(num_rows), SCHEMA, str(one / "rows.parquet"), "parquet")
        Dataset.open(str(path.parent / f"{path.name}-one")).write(path, "parquet", NUM_SHARDS)
        shutil.rmtree(path.parent / f"{path.name}-one")
    return Dataset.open(str(path))


def tfrecords(num_rows: int = NUM_ROWS) -> Dataset:
    """Returns the rows as TFRecord shards of tf.Examples."""
    path = _home(f"{num_rows}-tfrecord")
    if not path.exists():
        parquet(num_rows).write(path, "tfrecord", NUM_SHARDS)
    return Dataset.open(str(path))


def _packed(num_rows: int) -> np.ndarray:
    """Each row as the bytes of its 13 floats and 27 integers: the densest record that a per-record reader can have."""
    floats, ints = arrays(num_rows)
    return np.concatenate([floats.view(np.uint8), np.ascontiguousarray(ints).view(np.uint8)], axis=1)


def _rows(num_rows: int) -> list[bytes]:
    return [row.tobytes() for row in _packed(num_rows)]


def packed_file(num_rows: int) -> str:
    """Returns the path of a .npy file of packed rows, for readers that cannot import this module."""
    path = _home(f"{num_rows}-packed.npy")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary, open(temporary, "wb") as file:
            np.save(file, _packed(num_rows))
    return str(path)


def array_records(num_rows: int) -> list[str]:
    """Returns paths of ArrayRecord files of the rows."""
    path = _home(f"{num_rows}-arrayrecord")
    if not path.exists():
        from array_record.python.array_record_module import ArrayRecordWriter

        with atomic_directory(path) as out:
            for shard, part in enumerate(np.array_split(np.array(_rows(num_rows), object), NUM_SHARDS)):
                writer = ArrayRecordWriter(str(out / f"rows-{shard:05d}.array_record"), "group_size:1")
                for row in part:
                    writer.write(row)
                writer.close()
    return sorted(map(str, path.iterdir()))


def tar_shards(num_rows: int) -> list[str]:
    """Returns paths of tar files with one member a row, as webdataset reads them."""
    path = _home(f"{num_rows}-tar")
    if not path.exists():
        import io
        import tarfile

        with atomic_directory(path) as out:
            rows = _rows(num_rows)
            for shard in range(NUM_SHARDS):
                with tarfile.open(out / f"rows-{shard:05d}.tar", "w") as tar:
                    for index in range(shard, num_rows, NUM_SHARDS):
                        member = tarfile.TarInfo(f"{index:08d}.row")
                        member.size = len(rows[index])
                        tar.addfile(member, io.BytesIO(rows[index]))
    return sorted(map(str, path.iterdir()))
