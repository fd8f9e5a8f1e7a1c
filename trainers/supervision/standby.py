"""A process that has TensorFlow imported and forks a worker when asked: a restart costs no import.

It speaks lines of JSON on the socket it inherits (file descriptor in argv[1]):
in  {"start": {"env": {...}, "argv": [...], "log": path}}   out {"pid": n}, later {"pid": n, "status": wait status}
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from engine.machine.private_files import private
from engine.machine.processes import die_with_parent, working_directory
from trainers.rendezvous.json_lines import LineBuffer, encode

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Imports the modules named in argv[2:], then serves until the other end of the socket is closed."""
    die_with_parent()
    control = socket.socket(fileno=int(argv[1]))
    started = time.monotonic()
    for name in argv[2:]:
        importlib.import_module(name)
    # The million objects of these imports live on in every child: no collection there need look at them again.
    gc.collect()
    gc.freeze()
    _send(control, {"imported_s": time.monotonic() - started})
    _serve(control)
    return 0


def _serve(control: socket.socket) -> None:
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    buffer = LineBuffer(limit=None)  # of its own supervisor: a command may name thousands of files
    while True:
        ready, _, _ = select.select([control.fileno(), wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
            _reap(control)
        if control.fileno() in ready:
            data = control.recv(65536)
            if not data:
                return
            for message in buffer.messages(data):
                _fork(control, message["start"], (wake_read, wake_write))


def _reap(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _send(control, {"pid": pid, "status": status})


def _fork(control: socket.socket, request: dict[str, Any], pipes: tuple[int, int]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        _send(control, {"pid": pid})
        return
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides what an interrupt means
        control.close()
        for pipe in pipes:
            os.close(pipe)
        die_with_parent(parent)
        if request.get("log"):
            log = private(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
        os.environ.update(request["env"])
        if not getattr(sys.flags, "safe_path", False) and (here := working_directory()) is not None:
            sys.path.insert(
                0, here
            )  # as `-m` does; but what all share is imported by now, and no random.py there takes its place
        from trainers.supervision.entry_point import run_target

        code = run_target(request["argv"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not exit(): TensorFlow's server threads would wait for peers that may be gone.
        os._exit(code)


def _send(control: socket.socket, message: dict[str, Any]) -> None:
    control.sendall(encode(message))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
