"""An epoch of the transformed rows in shuffled batches of numpy arrays, as the documents of each reader write it.

Each returns (records, sum of the integers where `check`), which every reader of the same rows must agree on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks.data import transformed
from cluster.benchmarking.pairs import Timing

__all__ = ["duckdb_epoch", "grain_epoch", "pyarrow_epoch", "ray_epoch", "webdataset_epoch"]


def split_row(row: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Returns a packed row of bytes as its floats and integers."""
    cut = 4 * len(transformed.FLOATS)
    return np.frombuffer(row[:cut], np.float32), np.frombuffer(row[cut:], np.int64)


def grain_epoch(paths: list[str], check: bool = False) -> tuple[int, int]:
    """Grain over ArrayRecord files of packed rows: global shuffle, batches of numpy arrays, read in threads."""
    import grain

    rows = grain.MapDataset.source(grain.sources.ArrayRecordDataSource(paths)).shuffle(seed=1).map(split_row)
    return _summed(rows.batch(transformed.BATCH_SIZE, drop_remainder=False).to_iter_dataset(), check)


def webdataset_epoch(paths: list[str], check: bool = False) -> tuple[int, int]:
    """WebDataset over tar files of packed rows."""
    import webdataset

    rows = webdataset.WebDataset(paths, shardshuffle=16, seed=1, empty_check=False).shuffle(transformed.WINDOW)
    rows = rows.map(lambda sample: split_row(sample["row"]))
    return _summed(rows.batched(transformed.BATCH_SIZE, partial=True), check)


def pyarrow_epoch(paths: list[str], check: bool = False) -> tuple[int, int]:
    """pyarrow's data set in batches, each shuffled in itself, its columns as numpy arrays: less of a shuffle than ours."""
    import pyarrow.dataset

    rng = np.random.default_rng(1)
    batches = pyarrow.dataset.dataset(paths, format="parquet").to_batches(batch_size=transformed.BATCH_SIZE)
    count, total = 0, 0
    for batch in batches:
        shuffled = batch.take(rng.permutation(batch.num_rows))
        columns = {name: shuffled[name].to_numpy() for name in batch.schema.names}
        count += shuffled.num_rows
        total += sum(int(columns[name].sum()) for name in transformed.INTS) if check else 0
    return count, total


def duckdb_epoch(paths: list[str], check: bool = False) -> tuple[int, int]:
    """duckdb: the whole table in random order, fetched in chunks of numpy arrays by way of Arrow."""
    import duckdb

    query = "SELECT * FROM read_parquet($paths) ORDER BY random()"
    connection = duckdb.connect(config={"threads": 1})
    reader = connection.sql(query, params={"paths": list(paths)}).to_arrow_reader(transformed.BATCH_SIZE)
    count, total = 0, 0
    for batch in reader:
        columns = {name: batch[name].to_numpy() for name in batch.schema.names}
        count += batch.num_rows
        total += sum(int(columns[name].sum()) for name in transformed.INTS) if check else 0
    return count, total


def ray_epoch(paths: list[str], check: bool = False) -> Any:
    """ray.data in this machine's Ray, with a local buffer that shuffles; its workers' processor time is counted too."""
    import time

    import psutil
    import ray

    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, num_cpus=2)
        ray.data.DataContext.get_current().enable_progress_bars = False
    me = psutil.Process()

    def processor_seconds() -> float:
        # Ray's daemons are no descendants in the tree of processes on all systems: count all of them by name.
        total = 0.0
        for process in [me, *psutil.process_iter(["name", "cmdline"])]:
            try:
                if process is me or any("ray" in word for word in process.info["cmdline"] or []):
                    times = process.cpu_times()
                    total += times.user + times.system
            except psutil.Error:
                continue
        return total

    start, before = time.perf_counter(), processor_seconds()
    count, total = 0, 0
    for batch in ray.data.read_parquet(list(paths)).iter_batches(
        batch_size=transformed.BATCH_SIZE, batch_format="numpy", local_shuffle_buffer_size=transformed.WINDOW
    ):
        count += len(batch["f0"])
        total += sum(int(batch[name].sum()) for name in transformed.INTS) if check else 0
    timing = Timing(wall_s=time.perf_counter() - start, cpu_s=processor_seconds() - before)
    return (count, total) if check else timing


def _summed(batches: Iterable[Any], check: bool) -> tuple[int, int]:
    count, total = 0, 0
    for floats, ints in batches:
        count += len(floats)
        total += int(ints.sum()) if check else 0
    return count, total
