"""The processes of a server: started on shared ports, replaced when one dies, stopped in order."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from engine.core.errors import FullpassError
from engine.machine.ports import held_port
from engine.machine.private_files import private
from trainers.serving.server.config import ServeConfig
from trainers.serving.server.observe.metrics import forget_process, multiprocess_directory
from trainers.serving.server.worker import UNTIL_EOF

__all__ = ["RunningServer", "serve", "started"]

_START_S = 300.0
# Not `-m`: the package has imported the module by then, and Python warns of that at each start. Nor the working directory, which both
# put first and the command itself has not: a random.py or a grpc.py there would be the server's. Last comes where these packages lie.
_WORKER = (
    "import sys; sys.path[:] = [*filter(None, sys.path), sys.argv.pop(1)]; "
    "from trainers.serving.server.worker import main; sys.exit(main(sys.argv[1:]))"
)
_PACKAGES = str(Path(__file__).resolve().parents[3])


class RunningServer:
    """A server whose processes run; `serve` and `started` make it.

    Attributes:
        config: with the ports that were taken.
    """

    def __init__(self, config: ServeConfig, folder: Path) -> None:
        self._stack = contextlib.ExitStack()
        # A port that is 0 becomes a free one, held here so that no other program gets it between two processes of ours.
        grpc_port, rest_port = self._hold(config, config.grpc_port), self._hold(config, config.rest_port)
        self.config = dataclasses.replace(config, grpc_port=grpc_port, rest_port=rest_port)
        self._file = folder / "config.json"
        # The token is in it: for the owner's eyes.
        with open(self._file, "w", opener=private) as file:
            file.write(self.config.to_json())
        self._counts = folder / "metrics"
        self._counts.mkdir(exist_ok=True)
        self._environment = multiprocess_directory(dict(os.environ), str(self._counts))
        self._stopping = threading.Event()
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def pids(self) -> list[int]:
        """Of the processes that run."""
        return [process.pid for process in self._processes]

    def start(self) -> None:
        """Starts the processes and waits until each answers.

        Raises:
            FullpassError: one ended before it answered; what it printed is above.
        """
        self._processes = [self._spawn() for _ in range(self.config.processes)]
        for process in self._processes:
            self._await_ready(process)

    def watch(self, poll_s: float = 0.2) -> None:
        """Replaces processes that die, until `stop`."""
        while not self._stopping.wait(poll_s):
            for position, process in enumerate(self._processes):
                if process.poll() is not None and not self._stopping.is_set():
                    sys.stderr.write(
                        f"fullpass serve: process {process.pid} ended with {process.returncode}; another starts\n"
                    )
                    _close_pipes(process)
                    forget_process(process.pid, str(self._counts))
                    self._processes[position] = self._spawn()
                    with contextlib.suppress(FullpassError):  # it is looked at again at the next turn
                        self._await_ready(self._processes[position])

    def stop(self) -> None:
        """Lets every process answer what is in flight, then ends it."""
        self._stopping.set()
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + self.config.drain_s + 5
        for process in self._processes:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _close_pipes(process)
        self._stack.close()

    def _hold(self, config: ServeConfig, port: int | None) -> int | None:
        if port is None:
            return None
        held = self._stack.enter_context(held_port(config.host, port))
        return int(held.getsockname()[1])

    def _spawn(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", _WORKER, _PACKAGES, str(self._file), UNTIL_EOF]
        # Nothing is written to the standard input: it ends when this process does, however that happens.
        return subprocess.Popen(words, env=self._environment, stdout=subprocess.PIPE, stdin=subprocess.PIPE)

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            spoke = selector.select(_START_S)
            if spoke and process.stdout.readline() == b"ready\n":
                return
        process.kill()
        if not spoke:
            process.wait()
            raise FullpassError(
                f"a process of the server did not answer within {_START_S:g} s of its start, and was ended"
            )
        raise FullpassError(f"a process of the server ended before it answered (exit code {process.wait()}); see above")


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


@contextlib.contextmanager
def started(config: ServeConfig) -> Iterator[RunningServer]:
    """Runs a server while in the context; for programs and tests. Processes that die are replaced.

    Raises:
        FullpassError: it could not be started.
        OSError: a port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="fullpass-serve-") as folder:
        server = RunningServer(config, Path(folder))
        watcher = threading.Thread(target=server.watch, daemon=True, name="processes")
        try:
            server.start()
            watcher.start()
            yield server
        finally:
            server.stop()
            if watcher.is_alive():
                watcher.join()


def serve(config: ServeConfig, on_start: Callable[[ServeConfig], Any] | None = None) -> None:
    """Serves until SIGTERM or SIGINT.

    Args:
        config: of the server.
        on_start: called with the ports that were taken, once requests are answered.

    Raises:
        FullpassError: it could not be started.
        OSError: a port is taken.
    """
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with started(config) as server:
        if on_start is not None:
            on_start(server.config)
        ended.wait()
