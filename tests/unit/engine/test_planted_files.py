"""Names in a directory that somebody else may write to, who put links, pipes and files of their own there."""

from __future__ import annotations

import errno
import os
import shutil
import stat

import pytest

from engine import ConfigError, DataError
from engine.core.errors import NoRoom
from engine.machine.lock import locked
from engine.machine.private_files import private
from engine.storage.atomic import atomic_directory, atomic_file, remove_abandoned


@pytest.fixture
def foreign(tmp_path):
    """A file that nobody named as an output."""
    path = tmp_path / "elsewhere" / "kept"
    path.parent.mkdir()
    path.write_text("kept")
    return path


def _plant(place, kind, foreign):
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "symlink":
        place.symlink_to(foreign)
    elif kind == "dangling symlink":
        place.symlink_to(foreign.parent / "new")
    elif kind == "hard link":
        os.link(foreign, place)
    else:
        os.mkfifo(place)


PLANTED = ["symlink", "dangling symlink", "hard link", "pipe"]


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_lock_is_refused_and_what_it_leads_to_stays(tmp_path, foreign, kind):
    _plant(tmp_path / "work" / ".lock", kind, foreign)
    with pytest.raises(ConfigError, match=r"work/\.lock: is .*, and not a file of its own"), locked(tmp_path / "work"):
        pass
    assert foreign.read_text() == "kept"
    assert os.listdir(foreign.parent) == ["kept"]


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("mode", ["ab", "wb"])
def test_a_planted_log_is_refused_and_what_it_leads_to_stays(tmp_path, foreign, kind, mode):
    _plant(tmp_path / "log", kind, foreign)
    with pytest.raises(ConfigError, match=r"log: is .*, and not a file of its own"):
        open(tmp_path / "log", mode, opener=private)  # noqa: SIM115 it raises
    assert foreign.read_text() == "kept"


def test_a_private_file_that_was_there_becomes_private_and_is_replaced_or_continued(tmp_path):
    path = tmp_path / "log"
    path.write_text("one ")
    path.chmod(0o666)
    with open(path, "a", opener=private) as file:
        file.write("two")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("one two", 0o600)
    with open(path, "w", opener=private) as file:
        file.write("three")
    assert path.read_text() == "three"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_a_log_of_another_user_is_not_written_for_him_to_read(tmp_path):
    path = tmp_path / "log"
    path.touch()
    try:
        os.chown(path, 12345, 12345)
    except OSError as error:
        pytest.skip(f"this user namespace has no other user: {error}")
    with pytest.raises(ConfigError, match="belongs to user 12345"):
        open(path, "a", opener=private)  # noqa: SIM115 it raises


def test_a_new_log_is_written_whoever_the_file_system_says_made_it(tmp_path, monkeypatch):
    """NFS makes root's files nobody's, in a directory of another user's."""
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid + 1)
    monkeypatch.setattr(os, "stat", lambda *_, **__: os.stat_result([0] * 4 + [12345] + [0] * 5))
    with open(tmp_path / "log", "w", opener=private) as file:
        file.write("one")
    with pytest.raises(ConfigError, match="delete it or move it away"):
        open(tmp_path / "log", "a", opener=private)  # noqa: SIM115 it raises
    monkeypatch.undo()
    assert (tmp_path / "log").read_text() == "one"


@pytest.mark.parametrize("kind", ["file", *PLANTED])
def test_a_name_that_is_taken_is_no_new_file(tmp_path, foreign, kind):
    """A linked ~/.ray/auth_token stays what Ray reads."""
    path = tmp_path / "token"
    path.touch() if kind == "file" else _plant(path, kind, foreign)
    with pytest.raises(FileExistsError):
        open(path, "x", opener=private)  # noqa: SIM115 it raises
    assert foreign.read_text() == "kept" and os.listdir(foreign.parent) == ["kept"]


@pytest.mark.parametrize("write", ["text", "open"])
def test_a_temporary_name_that_is_swapped_for_a_link_is_not_followed(tmp_path, foreign, write):
    out = tmp_path / "out"
    with (
        pytest.raises(DataError, match=r"out: cannot be written: somebody else replaced \.out\.tmp-"),
        atomic_file(out) as path,
    ):
        (temporary,) = tmp_path.glob(".out.tmp-*")
        temporary.unlink()
        temporary.symlink_to(foreign)
        if write == "text":
            path.write_text("new")
        else:
            with open(path, "wb") as file:
                file.write(b"new")
    assert foreign.read_text() == "kept"
    assert sorted(os.listdir(tmp_path)) == ["elsewhere"]


@pytest.mark.parametrize("kind", PLANTED)
def test_an_output_takes_the_place_of_what_was_planted_at_its_name(tmp_path, foreign, kind):
    _plant(tmp_path / "out", kind, foreign)
    with atomic_file(tmp_path / "out", mode=0o640) as path:
        path.write_text("new")
    assert foreign.read_text() == "kept"
    assert stat.S_ISREG(os.lstat(tmp_path / "out").st_mode)
    assert (tmp_path / "out").read_text() == "new"


def test_a_file_without_a_mode_has_what_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "out") as path:
            path.write_text("new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


@pytest.mark.parametrize("kind", ["symlink", "dangling symlink"])
def test_a_directory_takes_the_place_of_a_link_and_leaves_what_it_led_to(tmp_path, foreign, kind):
    out = tmp_path / "out"
    out.symlink_to(foreign.parent if kind == "symlink" else tmp_path / "nothing")
    with atomic_directory(out) as directory:
        (directory / "new").touch()
    assert foreign.read_text() == "kept"
    assert (os.listdir(out), out.is_symlink()) == (["new"], False)
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "out"]


def test_a_staging_directory_that_is_swapped_for_a_link_does_not_become_the_output(tmp_path, foreign):
    with pytest.raises(DataError, match="somebody else replaced"), atomic_directory(tmp_path / "out") as directory:
        directory.rename(tmp_path / "moved")
        directory.symlink_to(foreign.parent)
    assert foreign.read_text() == "kept"
    assert not os.path.lexists(tmp_path / "out")


def test_a_planted_leftover_is_not_followed(tmp_path, foreign):
    (tmp_path / ".out.tmp-1-0").symlink_to(foreign.parent)
    assert remove_abandoned(tmp_path / "out") == []
    assert foreign.read_text() == "kept"


def test_a_tree_that_is_copied_onto_a_full_disk_is_named_by_its_final_name(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a", None, "b")
    with pytest.raises(NoRoom, match=r"out: cannot be written: No space left on device; nothing of it was kept"):
        with atomic_directory(tmp_path / "out"):
            raise shutil.Error([("a", "b", str(full)), ("c", "d", str(full))])
    with pytest.raises(shutil.Error), atomic_directory(tmp_path / "out"):
        raise shutil.Error([("a", "b", "[Errno 13] Permission denied: 'a'")])
    assert os.listdir(tmp_path) == []
