"""Errors of the system name the file that was being written: `[Errno 28]` alone helps nobody."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Iterator

import pyarrow as pa
import pytest

from engine import DataError, write_batches
from engine.core import exit_codes
from engine.core.errors import NoRoom
from engine.storage.atomic import atomic_directory, atomic_file, write_if_room


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """Files may have 4 KiB: what a full disk does to a writer, with EFBIG in place of ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_atomic_file_without_room_names_it_and_leaves_nothing(tmp_path):
    with pytest.raises(NoRoom) as found, no_room(), atomic_file(tmp_path / "a") as path:
        path.write_bytes(bytes(10_000))
    assert found.value.path == str(tmp_path / "a") and os.strerror(errno.EFBIG) in str(found.value)
    assert found.value.exit_code == exit_codes.FAILED, "no fault of the input: what is restarted may succeed"
    assert os.listdir(tmp_path) == []


def test_file_that_nobody_must_have_ends_nothing_where_there_is_no_room(tmp_path):
    with no_room():
        assert not write_if_room(tmp_path / "a", bytes(10_000))
    (tmp_path / "file").write_text("")
    assert not write_if_room(tmp_path / "file" / "a", b"a"), "no directory to write to"
    assert sorted(os.listdir(tmp_path)) == ["file"]
    assert write_if_room(tmp_path / "new" / "a", b"a", mode=0o600)
    assert (tmp_path / "new" / "a").read_bytes() == b"a" and (tmp_path / "new" / "a").stat().st_mode & 0o777 == 0o600


def test_atomic_directory_without_room_names_it_and_leaves_nothing(tmp_path):
    with pytest.raises(DataError) as found, no_room(), atomic_directory(tmp_path / "a") as path:
        with open(path / "big", "wb") as file:
            file.write(bytes(10_000))
    assert found.value.path == str(tmp_path / "a")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
def test_shard_without_room_is_named(tmp_path, format):
    batch = pa.record_batch({"x": pa.array([os.urandom(64) for _ in range(5_000)])})
    with pytest.raises(DataError) as found, no_room():
        write_batches([batch], batch.schema, str(tmp_path / f"a.{format}"), format=format)
    assert str(tmp_path / "a") in str(found.value), repr(found.value)
    assert os.listdir(tmp_path) == []


def test_error_that_names_a_file_keeps_it(tmp_path):
    with pytest.raises(FileNotFoundError) as found, atomic_file(tmp_path / "a"):
        (tmp_path / "missing").read_text()
    assert found.value.filename == str(tmp_path / "missing")
