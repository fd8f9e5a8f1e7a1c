"""Batches cut by the bytes that they take while they are worked on."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from engine.core.errors import ConfigError, DataError
from transforms.batches.batch_cutter import BatchCutter, memory_bytes, reader_rows, rows_within

BATCH = pa.record_batch({"x": pa.array(np.arange(4096))})


def _summed(cutter, batch=BATCH):
    pieces = [(piece.num_rows, result) for piece, result in cutter(batch)]
    assert sum(rows for rows, _ in pieces) == batch.num_rows
    return [rows for rows, _ in pieces], sum(result for _, result in pieces)


def test_a_function_that_takes_little_gets_whole_batches():
    rows, total = _summed(BatchCutter(lambda batch: int(batch.column(0).to_numpy().sum()), 1 << 30))
    assert rows == [4096] and total == 4096 * 4095 // 2


def test_records_that_grow_inside_are_run_in_slices_that_fit():
    most = []

    def blow_up(batch):
        held = np.ones((batch.num_rows, 1 << 17))  # 1 MiB a record
        most.append(batch.num_rows)
        return int(batch.column(0).to_numpy().sum()) + 0 * int(held[0, 0])

    cutter = BatchCutter(blow_up, 256 << 20)
    rows, total = _summed(cutter, BATCH.slice(0, 1024))
    assert set(rows) <= {32, 64} and total == 1024 * 1023 // 2
    assert max(most) <= 128


def test_longer_records_are_run_in_fewer():
    def copies(batch):
        return len(b"".join(batch.column(0).to_pylist()) * 64)

    cutter = BatchCutter(copies, 1 << 30)
    light = pa.record_batch({"x": pa.array([b"x" * 1000] * 8192)})
    list(cutter(light))
    heavy = pa.record_batch({"x": pa.array([b"x" * 100_000] * 256)})
    assert max(piece.num_rows for piece, _ in cutter(heavy)) <= 64


def test_a_large_batch_after_small_ones_is_measured_too():
    def blow_up(batch):
        np.ones((batch.num_rows, 1 << 15))  # 256 KiB a record
        return batch.num_rows

    cutter = BatchCutter(blow_up, 256 << 20)
    list(cutter(BATCH.slice(0, 20)))
    assert max(piece.num_rows for piece, _ in cutter(BATCH)) <= 256


@pytest.mark.parametrize(("bytes_a_row", "last"), [(500, 65536), (1600, 32768), (2500, 16384), (5000, 8192)])
def test_no_more_is_measured_than_shows_clearly(bytes_a_row, last):
    """Every other thread waits for it: after 8,192 records the next slice is the shortest that takes 32 MiB."""
    ran = []

    def peak_of(run):
        run()
        return ran[-1] * bytes_a_row

    cutter = BatchCutter(lambda piece: ran.append(piece.num_rows), 2 << 30, peak_of)
    pieces = [piece.num_rows for piece, _ in cutter(pa.record_batch({"x": pa.array(np.arange(1 << 17))}))]
    assert sum(pieces) == 1 << 17
    measured = ran[: len(ran) - len(pieces)]
    assert measured[:5] == [1, 16, 128, 1024, 8192] and measured[-1] == last


@pytest.mark.parametrize("error", [MemoryError, pa.ArrowMemoryError])
def test_a_batch_without_memory_is_halved_until_it_runs(error):
    def limited(batch):
        if batch.num_rows > 300:
            raise error("no")
        return int(batch.column(0).to_numpy().sum())

    cutter = BatchCutter(limited, 1 << 30)
    rows, total = _summed(cutter)
    assert max(rows) <= 300 and total == 4096 * 4095 // 2
    assert max(_summed(cutter)[0]) <= 300


def test_tensorflow_without_memory_is_halved():
    import tensorflow as tf

    def limited(batch):
        if batch.num_rows > 100:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return batch.num_rows

    assert _summed(BatchCutter(limited, 1 << 30))[1] == 4096


def test_a_record_that_never_fits_is_a_data_error():
    def never(batch):
        raise MemoryError("no")

    with pytest.raises(DataError, match="one record takes more memory"):
        list(BatchCutter(never, 1 << 30)(BATCH))


def test_another_error_is_not_taken_for_one_of_memory():
    def broken(batch):
        raise ValueError("other")

    with pytest.raises(ValueError, match="other"):
        list(BatchCutter(broken, 1 << 30)(BATCH))


def test_rows_within_is_a_power_of_two_or_all():
    assert rows_within(1000, 10, 1e9) == 1000
    assert rows_within(1000, 10, 5000) == 256
    assert rows_within(1000, 1e9, 10) == 1


def test_memory_is_bytes_or_a_text_with_a_unit():
    assert memory_bytes("2Gi") == 2 << 30 and memory_bytes("1.5Gi") == 3 << 29 and memory_bytes(1 << 30) == 1 << 30
    for wrong in ("2GB", "much", "", "63Mi", 5):
        with pytest.raises(ConfigError, match="at least 64Mi"):
            memory_bytes(wrong)


def test_large_records_are_read_in_smaller_batches():
    assert reader_rows(131072, 200 * 10_000, 10_000, 2 << 30) == 131072
    assert reader_rows(131072, (1 << 20) * 1000, 1000, 2 << 30) == 64
    assert reader_rows(131072, 10, None, 2 << 30) == 131072
    with pytest.raises(ConfigError, match="batch_rows is 0"):
        reader_rows(0, 1, 1, 2 << 30)


def test_memory_that_the_process_keeps_after_the_first_run_is_seen():
    """An allocator keeps what was freed, and macOS's highest mark cannot be set back: only the first run of a slice shows it."""
    seen = []

    def peak_of(run):
        run()
        return seen[-1] << 20 if seen.count(seen[-1]) == 1 else 0

    cutter = BatchCutter(lambda piece: seen.append(piece.num_rows), 256 << 20, peak_of)
    assert {piece.num_rows for piece, _ in cutter(BATCH)} == {64}
