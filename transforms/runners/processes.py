"""Worker processes for passes that hold Python's lock: states of each key in dictionaries, say.

Processes cost some seconds of imports, so `accumulate` is for long passes. Parts of states go through files in shared memory,
mapped by whoever merges them; nothing of the data does, since each worker reads its own splits.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle  # nosec B403 - only written, for our own workers
import queue
import secrets
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, Listener
from typing import Any

from engine.core.errors import FullpassError
from engine.machine.processes import working_directory
from engine.machine.short_directory import short_directory
from transforms.passes.protocols import AccumulatePass
from transforms.runners.base import BatchReader
from transforms.runners.error_notes import error_from_note
from transforms.runners.process_worker import write_split

__all__ = ["WorkerProcesses", "shared_memory"]

_SHARED_MEMORY = "/dev/shm"
# A container has 64 MiB there where nobody asked for more, which states of many keys fill.
_LEAST_SHARED_BYTES = 1 << 30
# Not `-m`, nor the directory that `-c` puts first: a user's random.py there would be everybody's.
_START = (
    "import sys; sys.path[:] = filter(None, sys.path); from transforms.runners.process_worker import main; "
    "main(sys.argv[1], int(sys.argv[2]))"
)
_START_S = 120  # workers import TensorFlow first, all at once, which a busy machine takes its time for


class WorkerProcesses:
    """Processes that run a pass; a context manager.

    Args:
        plan: the pass, which is portable.
        reader: reads splits.
        count: number of processes.
    """

    def __init__(self, plan: AccumulatePass, reader: BatchReader, count: int) -> None:
        self._count, self._payload = count, pickle.dumps((plan, reader))
        self._idle: queue.SimpleQueue[Connection] = queue.SimpleQueue()

    def __enter__(self) -> WorkerProcesses:
        with contextlib.ExitStack() as stack:
            self._directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="fullpass-", dir=shared_memory()))
            place = stack.enter_context(short_directory("socket"))
            key, address = secrets.token_bytes(32), os.path.join(place, "socket")
            listener = stack.enter_context(Listener(address, "AF_UNIX", backlog=self._count, authkey=key))
            process = subprocess.Popen(
                [sys.executable, "-c", _START, address, str(self._count)],
                stdin=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for this process, which ends them
                env={**os.environ, "PYTHONPATH": os.pathsep.join(_module_path())},
            )
            stack.callback(process.wait)
            assert process.stdin is not None
            process.stdin.write(key)
            process.stdin.close()
            for _ in range(self._count):
                connection = stack.enter_context(_accept(listener, process))
                connection.send((self._directory, self._payload))
                self._idle.put(connection)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def accumulate(
        self, splits: Sequence[tuple[int, Any]], advance: Callable[[int], None]
    ) -> tuple[dict[int, int], dict[tuple[int, int], list[int]]]:
        """Returns (records by split, numbers of the splits that have a part by (analyzer, part)).

        Args:
            splits: (number, split).
            advance: called with numbers of records.
        """
        lock = threading.Lock()

        def count(rows: int) -> None:
            with lock:
                advance(rows)

        rows: dict[int, int] = {}
        found: dict[tuple[int, int], list[int]] = {}
        for (number, _), (read, keys) in zip(splits, self._all([("split", *each) for each in splits], count)):
            rows[number] = read
            for analyzer, part in keys:
                found.setdefault((analyzer, part), []).append(number)
        return rows, found

    def merge(self, found: dict[tuple[int, int], list[int]]) -> dict[tuple[int, int], bytes]:
        """Returns the merged and sealed part of each (analyzer, part)."""
        return dict(zip(found, self._all([("merge", key, numbers) for key, numbers in found.items()], lambda _: None)))

    def keep(self, number: int, parts: dict[tuple[int, int], Any], rows: int) -> None:
        """Keeps the states of a split that this process accumulated itself, for `merge`."""
        write_split(self._directory, number, parts, rows)

    def _all(self, requests: Sequence[tuple[Any, ...]], count: Callable[[int], None]) -> list[Any]:
        failed = threading.Event()

        def ask(request: tuple[Any, ...]) -> Any:
            if failed.is_set():
                return None
            connection = self._idle.get()
            try:
                return _ask(connection, request, count)
            except BaseException:
                failed.set()
                raise
            finally:
                self._idle.put(connection)

        with ThreadPoolExecutor(self._count) as pool:
            return list(pool.map(ask, requests))


def shared_memory(least_bytes: int = _LEAST_SHARED_BYTES) -> str | None:
    """Returns the directory of shared memory, or None (for the directory of temporary files) where it is missing or too small.

    Args:
        least_bytes: that must be free there.
    """
    if not os.access(_SHARED_MEMORY, os.W_OK):
        return None
    room = os.statvfs(_SHARED_MEMORY)
    return _SHARED_MEMORY if room.f_bavail * room.f_frsize >= least_bytes else None


def _module_path() -> list[str]:
    """Returns this process's path of modules, Python's own first.

    The directory of a user's module comes first here, where Python's modules are imported already: in a new process its `random.py`
    would be everybody's. "" is the working directory, in full: the new process has none of that name.
    """
    library = sysconfig.get_path("stdlib")
    own = (library, sysconfig.get_path("platstdlib"), os.path.join(library, "lib-dynload"))
    given = ((each or working_directory()) for each in sys.path)
    return [*own, *(each for each in given if each and each not in own)]


def _ask(connection: Connection, request: tuple[Any, ...], count: Callable[[int], None]) -> Any:
    try:
        connection.send(request)
        while True:
            kind, value = json.loads(connection.recv_bytes())
            if kind == "done":
                return value
            if kind == "merged":
                return connection.recv_bytes()
            if kind == "failed":
                raise error_from_note(value) or FullpassError(f"a worker process failed: {value!r}")
            count(value)
    except (EOFError, ConnectionError) as error:
        raise FullpassError(
            f"a worker process ended in the middle of a pass (at {request[:2]}); if the system killed it for memory, use fewer "
            "workers or a smaller --memory"
        ) from error


@contextlib.contextmanager
def _accept(listener: Listener, process: subprocess.Popen[bytes]) -> Iterator[Connection]:
    """Waits for a worker, no longer than its process lives."""
    accepted: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def wait() -> None:
        try:
            accepted.put(listener.accept())
        except Exception as error:
            accepted.put(error)

    threading.Thread(target=wait, daemon=True).start()
    for _ in range(_START_S * 5):
        with contextlib.suppress(queue.Empty):
            connection = accepted.get(timeout=0.2)
            if isinstance(connection, Exception):
                raise connection
            with connection:
                yield connection
            return
        if process.poll() is not None:
            break
    process.kill()
    raise FullpassError(f"the worker processes did not start (exit code {process.poll()}); their output is above")
