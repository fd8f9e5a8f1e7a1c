"""What the feed holds in memory: bounded by bytes, never written while somebody looks, the same on any number of threads."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import Dataset
from engine._native import gather_rows
from engine.core.errors import ConfigError
from engine.feed.buffers import BufferPool
from engine.plan import EpochPlan

_INT64 = np.dtype(np.int64)


@pytest.mark.parametrize("keep", [lambda a: a, lambda a: a[2:5], lambda a: a.reshape(2, -1)[1:].T, memoryview])
def test_buffer_is_free_only_after_the_last_view_of_a_view(keep):
    pool = BufferPool()
    held = keep(pool.empty((100,), _INT64))
    others = set()
    for _ in range(5):
        other = pool.empty((100,), _INT64)
        assert not np.shares_memory(other, np.asarray(held))
        others.add(other.ctypes.data)
    assert len(others) == 2, "what is free is taken again"


def test_buffer_outlives_its_pool():
    held = BufferPool().empty((1000,), _INT64)
    held[:] = 7
    gc.collect()
    for _ in range(50):
        np.empty(1000, np.int64)[:] = 1
    assert (held == 7).all()


def test_buffer_held_by_a_tensor_is_not_written():
    import tensorflow as tf

    pool = BufferPool()
    array = pool.empty((64,), _INT64)
    array[:] = 5
    tensor = tf.convert_to_tensor(array)
    del array
    for _ in range(5):
        pool.empty((64,), _INT64)[:] = 9
    assert (tensor.numpy() == 5).all()


def test_pool_keeps_no_more_free_bytes_than_allowed():
    pool = BufferPool(free_bytes=10_000)
    arrays = [pool.empty((500,), _INT64) for _ in range(20)]
    del arrays
    pool.empty((500,), _INT64)
    assert sum(raw.nbytes for raw in pool._free) <= 10_000


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_gather_equals_numpy_on_any_number_of_threads(threads):
    rng = np.random.default_rng(0)
    jobs, expected = [], []
    for width, dtype, count in ((1, np.float32, 5), (40, np.int64, 3000), (3, np.float32, 0), (70_000, np.int64, 9)):
        source = rng.integers(0, 1 << 30, (50, width)).astype(dtype)
        rows, out = rng.integers(0, 50, count + 4), np.zeros((count + 3, width), dtype)
        jobs.append((source, rows, 3, count + 3, out, 2))  # rows 3 to count + 3 of those, from slot 2 on
        expected.append(source[rows[3 : count + 3]])
    gather_rows(jobs, threads)
    for (*_, out, slot), want in zip(jobs, expected):
        np.testing.assert_array_equal(out[slot:-1], want)
        assert not out[:slot].any() and not out[-1].any()


def test_gather_of_a_row_that_is_not_there_is_refused():
    source, out = np.zeros((5, 2)), np.zeros((1, 2))
    for row in (5, -1):
        with pytest.raises(IndexError, match="not within its window"):
            gather_rows([(source, np.array([row]), 0, 1, out, 0)], 2)
    with pytest.raises(ValueError, match="int64"):
        gather_rows([(source, np.zeros(1, np.int32), 0, 1, out, 0)], 1)
    for first, stop, slot in ((0, 2, 0), (1, 0, 0), (0, 1, 1), (1, 1, 2)):
        with pytest.raises(ValueError, match="within its arrays"):
            gather_rows([(source, np.zeros(1, np.int64), first, stop, out, slot)], 1)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Dataset:
    rng = np.random.default_rng(0)
    table = pa.table({"a": rng.normal(size=3000), "b": rng.integers(0, 9, 3000), "s": [f"{i}" for i in range(3000)]})
    path = tmp_path_factory.mktemp("rows") / "x.parquet"
    pq.write_table(table, path, row_group_size=100)
    return Dataset.open(str(path))


def test_batches_are_the_same_on_any_number_of_threads(rows):
    def batches(threads):
        options = {"threads": threads, "num_epochs": 2, "window_records": 500, "seed": 3}
        return list(rows.feed(global_batch_size=64, **options))

    one = batches(1)
    for threads in (3, None):
        for mine, other in zip(one, batches(threads), strict=True):
            assert all(np.array_equal(mine[key], other[key]) for key in mine)


def test_default_window_is_bounded_by_bytes_and_a_given_one_is_not(rows):
    record = rows.feed(global_batch_size=10).record_bytes
    assert record >= 12
    small = rows.feed(global_batch_size=10, window_bytes=int(600 * record)).plan
    assert small.window_blocks * small.lanes * 100 <= 600
    assert rows.feed(global_batch_size=10).plan.window_blocks == 30
    assert rows.feed(global_batch_size=10, window_bytes=1, window_records=3000).plan.window_blocks == 30
    assert rows.feed(global_batch_size=10, columns=["a", "b"]).record_bytes == 12
    with pytest.raises(ConfigError, match="window_bytes is 0"):
        rows.feed(global_batch_size=10, window_bytes=0)
    assert EpochPlan([100] * 30, global_batch_size=10, window_limit=100).window_blocks == 1


def test_feed_of_large_records_holds_a_fraction_of_the_data(tmp_path):
    rng = np.random.default_rng(0)
    schema = pa.schema([("image", pa.binary())])
    with pq.ParquetWriter(tmp_path / "x.parquet", schema, compression="none", use_dictionary=False) as writer:
        for _ in range(60):
            images = [rng.bytes(100_000) for _ in range(40)]
            writer.write_batch(pa.RecordBatch.from_arrays([pa.array(images, pa.binary())], schema=schema))
    program = """
        import resource, sys
        from engine import Dataset
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        data = Dataset.open(sys.argv[1])
        first = next(iter(data.read_batches(batch_rows=10)))
        before, count = peak(), 0
        for batch in data.feed(global_batch_size=16, num_epochs=2, threads=2, window_bytes=16 << 20):
            count += len(batch["bytes"])
        print(count, peak() - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "x.parquet")]
    count, grown_mib = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert count == 4800
    assert grown_mib < 130, "the data are 229 MiB: two windows of 16 MiB, what is being read, and a few batches"
