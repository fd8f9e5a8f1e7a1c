"""One training a directory: a file lock on a local file system, a lease object on a store that has no locks.

A lease is an object with the holder's token that its holder renews; one that was not renewed for `LEASE_S`, or whose
process on this machine is gone, is free. A store without conditional writes lets two writers that come in the same moment
both write: each reads its lease again after a moment, and the one whose token is no longer there gives way.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import secrets
import socket
import threading
import time
from typing import Any

from engine.core.errors import ConfigError
from engine.core.json_text import parse_json
from engine.core.run_log import tell
from engine.machine.lock import LockHeld, locked
from engine.machine.processes import alive, process_mark
from engine.storage import tree as storage

__all__ = ["DirectoryLock", "lock_directory"]

LEASE_S = 60.0
RENEW_S = 10.0
_WAIT_S = 20.0
_SETTLE_S = 0.5
_NAME = "training.lock"
_LAST_S = 1e12  # no clock says more


class DirectoryLock:
    """A lock that is held until `release`, or until its process ends."""

    def check(self) -> None:
        """Raises a ConfigError where another run has taken the directory over meanwhile."""

    def release(self) -> None:
        """Gives the directory free."""


def lock_directory(
    directory: str, run_id: str = "", wait_s: float = _WAIT_S, lease_s: float = LEASE_S, renew_s: float = RENEW_S
) -> DirectoryLock:
    """Returns the lock of a training directory.

    Args:
        directory: local, or a URI.
        run_id: of the group that this process belongs to: a member that was restarted takes over from the one before.
        wait_s: seconds to wait for another run that may just be ending.
        lease_s: on a store without locks, a lease that was not renewed for as long is free.
        renew_s: seconds between two renewals of such a lease.

    Raises:
        ConfigError: another training run uses it.
    """
    lock = _FileLock(directory) if storage.is_local(directory) else _Lease(directory, run_id, lease_s, renew_s)
    until, said = time.monotonic() + wait_s, False
    while True:
        holder = lock.take()
        if holder is None:
            return lock
        if time.monotonic() >= until:
            raise ConfigError(
                f"{directory}: another training run uses it ({_who(holder)}); wait for its end, or train in another directory"
            )
        if not said:
            tell(f"waiting for {_who(holder)}, which trains in {directory}")
            said = True
        time.sleep(min(0.2, wait_s))


def _me(run_id: str) -> dict[str, Any]:
    pid = os.getpid()
    mark = process_mark(pid)  # the number alone may be another process's by the time that somebody asks
    place = {"host": socket.gethostname(), "pids": _pid_space()}
    return {**place, "pid": pid, "mark": mark, "run_id": run_id, "token": secrets.token_hex(8)}


def _pid_space() -> str:
    """Says where a process's number counts: two containers of one host name may each have their own."""
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def _who(holder: dict[str, Any]) -> str:
    return f"process {holder.get('pid', 'unknown')} of {holder.get('host', 'an unknown host')}"


class _FileLock(DirectoryLock):
    def __init__(self, directory: str) -> None:
        self._directory, self._held = directory, contextlib.ExitStack()

    def take(self) -> dict[str, Any] | None:
        try:
            self._held.enter_context(locked(storage.local_path(self._directory), wait=False))
        except LockHeld as error:
            return {"pid": error.holder, "host": "this machine, or one that shares the directory"}
        except OSError as error:
            raise ConfigError(
                f"directory {self._directory!r} cannot be written to: {error.strerror}; give another one"
            ) from None
        return None

    def release(self) -> None:
        self._held.close()


def _read(path: str) -> dict[str, Any]:
    """Returns what a lease says; nothing where there is none, or one that says nothing of its time."""
    with contextlib.suppress(ValueError, storage.NotText):
        found = parse_json(storage.read_text(path) or "")
        renewed = found.get("renewed_at", 0.0) if isinstance(found, dict) else None
        return found if isinstance(renewed, int | float) and abs(renewed) < _LAST_S else {}
    return {}


def _is_gone(mark: str) -> bool:
    """Whether the process of a mark has surely ended: what cannot be told has to wait for the lease to run out."""
    number, _, started = mark.partition(":")
    if not (number.isascii() and number.isdecimal() and len(number) < 20 and started):
        return False
    try:
        os.kill(int(number), 0)
        return not alive(mark)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # another user's is there, and its start may be hidden
        pass
    now = process_mark(int(number))
    return not now.endswith(":") and now != mark


class _Lease(DirectoryLock):
    def __init__(self, directory: str, run_id: str, lease_s: float, renew_s: float) -> None:
        self._lease_s, self._renew_s = lease_s, renew_s
        self._path, self._me = posixpath.join(directory, _NAME), _me(run_id)
        self._ended = threading.Event()
        self._taken_by: dict[str, Any] = {}
        self._thread: threading.Thread | None = None

    def take(self) -> dict[str, Any] | None:
        holder = _read(self._path)
        if holder and not self._is_free(holder):
            return holder
        self._write()
        time.sleep(_SETTLE_S)
        now = _read(self._path)
        if now.get("token") != self._me["token"]:
            return now
        self._thread = threading.Thread(target=self._renew, daemon=True, name="directory-lease")
        self._thread.start()
        return None

    def _is_free(self, holder: dict[str, Any]) -> bool:
        if time.time() - float(holder.get("renewed_at", 0.0)) > self._lease_s:
            return True
        if holder.get("run_id") and holder["run_id"] == self._me["run_id"]:
            return True
        if any(holder.get(key) != self._me[key] for key in ("host", "pids")):  # earlier releases wrote no "pids"
            return False
        return _is_gone(str(holder.get("mark", "")))

    def _write(self) -> None:
        storage.write_text(self._path, json.dumps({**self._me, "renewed_at": time.time()}))

    def _renew(self) -> None:
        while not self._ended.wait(self._renew_s):
            with contextlib.suppress(Exception):  # a store that is away for a moment stops no training
                holder = _read(self._path)
                if holder.get("token") not in (None, self._me["token"]):
                    # This machine stood still, or saw no store, for longer than the lease: what was written over is lost.
                    self._taken_by = holder
                    return
                self._write()

    def check(self) -> None:
        if self._taken_by:
            raise ConfigError(
                f"{posixpath.dirname(self._path)}: {_who(self._taken_by)} took this directory over, since the lease was not renewed "
                f"for {self._lease_s:g} s; this run ends, that one goes on"
            )

    def release(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(Exception):
            if _read(self._path).get("token") == self._me["token"]:
                storage.delete_file(self._path)
