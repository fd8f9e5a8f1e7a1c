"""The cache of remote blocks in a directory where somebody else may write, or where nobody can."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from engine.storage.remote.cache import BlockCache

KEY = "0" * 40


def test_blocks_are_for_their_owner_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        cache = BlockCache(tmp_path / "cache", 1000)
        cache.put(KEY, b"private")
    finally:
        os.umask(before)
    (block,) = cache.directory.iterdir()
    assert stat.S_IMODE(cache.directory.stat().st_mode) == 0o700 and stat.S_IMODE(block.stat().st_mode) == 0o600
    assert cache.get(KEY) == b"private"


@pytest.mark.parametrize("kind", ["directory", "pipe", "link", "dangling link"])
def test_what_is_no_file_of_ours_is_no_block(tmp_path, kind):
    cache = BlockCache(tmp_path / "cache", 1000)
    BlockCache(tmp_path / "other", 1000).put(KEY, b"planted")
    place = cache.directory / f"{KEY}.block"
    if kind == "directory":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)  # whose opening waits for a writer
    else:
        place.symlink_to(tmp_path / "other" / f"{KEY}{'.block' if kind == 'link' else ''}")
    assert cache.get(KEY) is None
    cache.put(KEY, b"new")
    assert cache.get(KEY) == (None if kind == "directory" else b"new")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_block_of_another_user_is_not_believed(tmp_path):
    cache = BlockCache(tmp_path, 1000)
    cache.put(KEY, b"planted")
    os.chown(tmp_path / f"{KEY}.block", 65534, 65534)
    assert cache.get(KEY) is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_nothing_ends_no_reading(tmp_path, monkeypatch, code):
    cache = BlockCache(tmp_path, 1000)

    def full(*_args: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    cache.put(KEY, b"lost")
    assert cache.get(KEY) is None and list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_listed_ends_no_reading(tmp_path, monkeypatch):
    """That of another user, which is for its owner alone."""
    cache = BlockCache(tmp_path, 1000)

    def refused(*_args: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("engine.storage.remote.cache.os.scandir", refused)
    cache.put(KEY, b"block")
    assert cache.get(KEY) == b"block"


def test_that_blocks_are_of_another_user_is_said_once(tmp_path, monkeypatch, caplog):
    """Or on a disk that shows one owner for all files: nothing there is ever believed."""
    cache = BlockCache(tmp_path, 1000)
    cache.put(KEY, b"block")
    owner = os.geteuid()
    monkeypatch.setattr("engine.storage.remote.cache.os.geteuid", lambda: owner + 1)
    with caplog.at_level("WARNING", logger="fullpass.engine"):
        assert [each.get(KEY) for each in (cache, cache, BlockCache(tmp_path, 1000))] == [None, None, None]
    (said,) = caplog.messages
    assert f"the cache {tmp_path} are not used: they belong to user {owner}, this process to user {owner + 1}" in said
