"""What every server of the cluster tests needs: a cache directory, installed tools, free ports, processes that end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

__all__ = ["Server", "cache_dir", "free_port", "locked", "require", "run", "virtual_environment", "wait_until"]

_PACKAGES = {"java": "openjdk-17-jdk-headless", "mvn": "maven", "go": "golang-go"}


def cache_dir() -> Path:
    """Returns the directory that keeps what was built; nothing in it is needed, all of it can be made again."""
    path = Path.home() / ".cache" / "fullpass" / "clusters"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds a lock between processes, so that two of them do not build the same thing."""
    import fcntl

    with open(cache_dir() / f".{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(command: Sequence[str], *, timeout_s: float = 600, **kwargs) -> str:
    """Returns the output of a command; the error of a failed one shows the end of its output."""
    done = subprocess.run(
        list(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s, **kwargs
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} ... ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def require(tool: str) -> str:
    """Returns the path of java, mvn or go, installed with apt-get where it is absent.

    Raises:
        RuntimeError: with the reason, where it cannot be had.
    """
    found = shutil.which(tool)
    if found:
        return found
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise RuntimeError(f"{tool} is not installed, and apt-get cannot be used here: install {_PACKAGES[tool]}")
    with locked("apt"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run([apt, "update", "-qq"], env=environment)
        run([apt, "install", "-y", "-qq", "--no-install-recommends", _PACKAGES[tool]], env=environment)
    found = shutil.which(tool)
    if not found:
        raise RuntimeError(f"apt-get installed {_PACKAGES[tool]}, but there is no {tool} on PATH")
    return found


def virtual_environment(name: str, requirement: str) -> Path:
    """Returns the site-packages directory of an environment that holds one package without its dependencies."""
    home = cache_dir() / name
    with locked(name):
        if not (home / ".complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            run([sys.executable, "-m", "venv", str(home)])
            run([str(home / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps", requirement], timeout_s=900)
            (home / ".complete").touch()
    return next((home / "lib").glob("python*/site-packages"))


def free_port() -> int:
    """Returns a port of the loopback interface that nothing listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60, servers: Sequence[Server] = ()) -> None:
    """Returns when the condition holds.

    Raises:
        RuntimeError: when it does not in time or one of the servers has ended: with the end of their logs.
    """
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and all(server.running for server in servers):
        with contextlib.suppress(OSError):
            if condition():
                return
        time.sleep(0.2)
    tails = "\n".join(f"--- {server.name}\n{server.log_tail()}" for server in servers)
    raise RuntimeError(f"{what} did not come up within {timeout_s:.0f} s\n{tails}")


def _ending_with_parent(command: Sequence[str]) -> list[str]:
    """Returns a command that the kernel ends with the process that starts it: a killed test run leaves nothing behind.

    Not by a `preexec_fn`: that needs a real fork, in which gRPC's handlers may abort once Beam is loaded.
    """
    setpriv = shutil.which("setpriv")
    return [*([setpriv, "--pdeathsig", "TERM"] if setpriv else []), *command]


class Server:
    """A process group with a log file.

    Args:
        name: for messages and the log's name.
        command: what to run.
        directory: for the log.
        env: environment variables to set or, with None, to unset.
    """

    def __init__(self, name: str, command: Sequence[str], directory: Path, env: dict[str, str | None] | None = None):
        self.name = name
        self.log = directory / f"{name}.log"
        environment = {**os.environ, **{key: value for key, value in (env or {}).items() if value is not None}}
        for key, value in (env or {}).items():
            if value is None:
                environment.pop(key, None)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                _ending_with_parent(command),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process.poll() is None

    def log_tail(self, size: int = 3000) -> str:
        """Returns the end of what it printed."""
        return self.log.read_text(errors="replace")[-size:]

    def stop(self) -> None:
        """Ends the process and all that it started."""
        for kind, patience_s in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, kind)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
