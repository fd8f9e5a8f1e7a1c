"""Programs of tests as forks of one process that has TensorFlow imported: where its import is not the point, they pay for none.

Each is a process as any other, with a directory, an environment and pipes of its own, signals that end it and an exit code. The first
one starts the process that forks, which is the tests' own as long as they run.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Mapping
from pathlib import Path

from engine.machine.processes import die_with_parent

__all__ = ["Forked", "run_forked", "start_forked"]

ROOT = str(Path(__file__).parents[2])
_IMPORTS = (
    "tensorflow",
    "keras",
    "tensorflow_transform",
    "transforms",
    "trainers.loop.session",
    "trainers.loop.trainer",
)
_IMPORTS += ("trainers.models.adapters.keras3", "trainers.export.export", "cluster.cli.main", "cluster.pipeline")


class Forked:
    """A program that runs: what tests use of `subprocess.Popen`. `stdout` and `stderr` are text."""

    def __init__(self, status: int, stdout: int, stderr: int) -> None:
        self.stdout, self.stderr = os.fdopen(stdout), os.fdopen(stderr)
        self._status = os.fdopen(status, "rb", buffering=0)
        self.pid = int(self._status.readline() or "-1")
        assert self.pid > 0, "the process that forks has ended"
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Returns the exit code, if it has ended."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.returncode = int(self._status.readline())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end and returns the exit code; `subprocess.TimeoutExpired` where it takes longer."""
        if self.returncode is None and not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(f"fork {self.pid}", timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Reads what it says until it has ended."""
        until, said = time.monotonic() + (timeout or 1e6), ["", ""]

        def read(number: int) -> None:
            with (self.stdout, self.stderr)[number] as file:
                said[number] = file.read()

        readers = [threading.Thread(target=read, args=(number,), daemon=True) for number in (0, 1)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(max(until - time.monotonic(), 0))
        self.wait(max(until - time.monotonic(), 0))
        return said[0], said[1]

    def send_signal(self, number: int) -> None:
        """Sends a signal, where it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def start_forked(
    code: str,
    *words: object,
    cwd: str | os.PathLike[str] = ROOT,
    env: Mapping[str, str] | None = None,
    start_new_session: bool = False,
) -> Forked:
    """Starts what `python -c CODE WORDS` would, in a fork.

    Args:
        code: the program.
        words: its arguments.
        cwd: where it runs.
        env: its environment; that of this process where None.
        start_new_session: as of `subprocess.Popen`.
    """
    pipes = [os.pipe() for _ in range(3)]
    request = {
        "code": code,
        "words": [*map(str, words)],
        "cwd": os.fspath(cwd),
        "env": dict(os.environ if env is None else env),
    }
    message = json.dumps({**request, "session": start_new_session}).encode()
    control, _ = _forking(os.getpid())
    socket.send_fds(control, [message], [write for _, write in pipes])
    for _, write in pipes:
        os.close(write)
    return Forked(*(read for read, _ in pipes))


def run_forked(code: str, *words: object, timeout: float = 400, **options: object) -> tuple[int, str, str]:
    """Runs what `start_forked` starts, and returns its exit code and what it said on stdout and stderr."""
    program = start_forked(code, *words, **options)  # type: ignore[arg-type]
    try:
        said = program.communicate(timeout)
    finally:
        program.send_signal(signal.SIGKILL)
    return program.wait(), *said


@functools.cache
def _forking(pid: int) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Starts the process that forks for the process `pid`, this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # a message is read whole
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forks", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdin=subprocess.DEVNULL,
        )
    return ours, process


def _serve(control: socket.socket) -> None:
    for name in _IMPORTS:
        importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, files, _, _ = socket.recv_fds(control, 1 << 20, 3)
        if not message:
            return
        if not os.fork():
            control.close()
            return _watch(json.loads(message), *files)
        for file in files:
            os.close(file)


def _watch(request: dict[str, object], status: int, stdout: int, stderr: int) -> None:
    """Forks the program and writes its number and, when it has ended, its exit code: its parent, which may not end before it."""
    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    watching, pid = os.getpid(), os.fork()
    if not pid:
        die_with_parent(watching)
        os.close(status)
        return _become(request, stdout, stderr)
    os.close(stdout), os.close(stderr)
    os.write(status, b"%d\n" % pid)
    os.write(status, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _become(request: dict[str, object], stdout: int, stderr: int) -> None:
    import numpy as np

    if request["session"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in ((1, stdout), (2, stderr)):
        os.dup2(file, number)
        os.close(file)
    # As a process of its own has them: what these knew of the files before (that one can seek, say) is no longer so.
    sys.stdout, sys.stderr = (
        os.fdopen(1, "w", closefd=False),
        os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False),
    )
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[call-overload]
    np.random.seed()
    sys.argv = ["-c", *request["words"]]  # type: ignore[misc]
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    program = compile(str(request["code"]), "<string>", "exec")
    exec(program, main.__dict__)  # and ends as Python does, here or with an error


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
