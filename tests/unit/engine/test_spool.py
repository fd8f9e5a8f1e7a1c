"""Spools: what is given up is freed, and the rest stays."""

from __future__ import annotations

import os

import pyarrow as pa
import pytest

from engine.formats.spool import Spool

BATCHES = [pa.record_batch({"x": list(range(start, start + 1000))}) for start in range(5)]


def size_of(spool):
    return os.fstat(spool._file.fileno()).st_size


@pytest.mark.parametrize("memory_bytes", [1 << 20, 0])
def test_what_is_forgotten_is_freed_and_its_room_taken_again(tmp_path, memory_bytes):
    spool = Spool(str(tmp_path), memory_bytes)
    numbers = [spool.add(batch) for batch in BATCHES]
    whole = spool._in_memory, spool._in_file
    spool.forget(numbers[1:2] + numbers[3:])
    assert spool.read(numbers[0]) == BATCHES[0] and spool.read(numbers[2]) == BATCHES[2]
    if not memory_bytes:
        assert size_of(spool) == spool._in_file == whole[1] * 3 // 5
    assert spool._in_memory * 5 == whole[0] * 2
    again = [spool.add(batch) for batch in BATCHES[3:]]
    assert [spool.read(number) for number in again] == BATCHES[3:] and spool.read(numbers[2]) == BATCHES[2]
    spool.forget([numbers[0], numbers[2], *again])
    assert spool._in_memory == spool._in_file == 0


@pytest.mark.parametrize("memory_bytes", [1 << 20, 0])
def test_a_closed_spool_takes_no_more_and_has_no_file(tmp_path, memory_bytes):
    spool = Spool(str(tmp_path), memory_bytes)
    assert spool.add(BATCHES[0]) == 0
    spool.close()
    assert spool.add(BATCHES[1]) is None and spool._file is None and not spool._batches


def test_a_batch_that_cannot_be_written_leaves_no_room_taken(tmp_path, monkeypatch):
    spool = Spool(str(tmp_path), 0)
    spool.add(BATCHES[0])
    before = size_of(spool)
    write = os.pwrite

    def full(*arguments):
        write(*arguments)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    assert spool.add(BATCHES[1]) is None
    assert size_of(spool) == before and spool.read(0) == BATCHES[0]
