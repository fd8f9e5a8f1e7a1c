"""A group of supervised workers on this machine: free ports, one log file each, supervisors replaced when they die."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.core import environment, exit_codes
from engine.core.errors import ConfigError
from engine.core.own_packages import module_words
from engine.core.run_log import print_line
from engine.machine.logged_process import LoggedProcess, await_all, stop_all
from trainers.supervision.failure_line import failure_in, full_disk
from trainers.supervision.local_cluster import LocalCluster

__all__ = ["LocalGroup", "run_local_group"]


class LocalGroup:
    """Supervisors of one training on this machine.

    Args:
        num_workers: tasks that compute.
        target: what each runs, see `python -m trainers.supervision.worker`.
        log_dir: gets TYPE-INDEX.log (training) and TYPE-INDEX.supervisor.log.
        num_ps: parameter servers; with any, a chief is added.
        env: added to the environment of all.
        options: options of `python -m trainers.supervision.worker`.
    """

    def __init__(
        self,
        num_workers: int,
        target: Sequence[str],
        log_dir: str | os.PathLike[str],
        num_ps: int = 0,
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        if num_workers < 1 or num_ps < 0:
            raise ConfigError(f"num_workers={num_workers}, num_ps={num_ps}: at least 1 worker and 0 parameter servers")
        sizes = {"chief": 1 if num_ps else 0, "worker": num_workers, "ps": num_ps}
        self.log_dir = Path(log_dir)
        run_id = secrets.token_hex(8)
        # The secret is beside the logs, since a supervisor that is started again reads it again.
        self._cluster = LocalCluster(sizes, run_id, self.log_dir / f".secret-{run_id}")
        self.tasks = self._cluster.tasks
        self._target, self._options, self._env = list(target), list(options), dict(env or {})
        self._processes: dict[tuple[str, int], LoggedProcess] = {}
        self._stopping = False

    def start(self) -> LocalGroup:
        """Starts all supervisors.

        Raises:
            ConfigError: the directory of logs cannot be made.
        """
        try:
            self.log_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self.log_dir} cannot be made: {error.strerror}; give another directory") from None
        # What an earlier group wrote there is not ours.
        logs = [self.log_dir / f"{kind}-{index}.supervisor.log" for kind, index in self.tasks]
        self._log_begins = {path: path.stat().st_size if path.exists() else 0 for path in logs}
        self._cluster.write_secret()
        for task in self.tasks:
            self._processes[task] = self._supervisor(task)
            self._processes[task].start()
        return self

    def _supervisor(self, task: tuple[str, int]) -> LoggedProcess:
        name = f"{task[0]}-{task[1]}"
        env = self._cluster.environment(task, {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **self._env})
        if len(self.tasks) == 1:  # its training is not distributed
            del env["TF_CONFIG"]
        if task != self.tasks[0]:  # one of them shows the progress of all
            env[environment.PROGRESS.name] = "0"
        options = ["--while-stdin", "--log", str(self.log_dir / f"{name}.log"), *self._options]
        words = module_words("trainers.supervision.worker", *options, "--", *self._target)
        return LoggedProcess(words, self.log_dir / f"{name}.supervisor.log", env, hold_stdin=True)

    @property
    def ports(self) -> list[int]:
        """Ports that TensorFlow listens on, in the order of ranks."""
        return self._cluster.ports

    @property
    def rendezvous(self) -> str:
        """Where the supervisors meet, "host:port"."""
        return self._cluster.rendezvous

    @property
    def pids(self) -> dict[tuple[str, int], int]:
        """(type, index) to the process id of the supervisor."""
        return {task: process.pid for task, process in self._processes.items() if process.pid is not None}

    def poll(self) -> int | None:
        """Replaces supervisors that were killed or preempted; returns the exit code when the group has ended."""
        codes = {task: process.poll() for task, process in self._processes.items()}
        failed = [c for c in codes.values() if c in (exit_codes.FAILED, *exit_codes.FINAL)]
        if failed:
            await_all(list(self._processes.values()), 2.0)
            self.stop(grace_s=0.0)
            return min(failed, key=lambda c: c == 1)
        if any(code == 0 for code in codes.values()):
            # A supervisor ends with 0 only when the whole group is done.
            await_all(list(self._processes.values()), 5.0)
            self.stop(grace_s=0.0)
            return 0
        if self._stopping:
            return exit_codes.PREEMPTED if all(code is not None for code in codes.values()) else None
        for task, code in codes.items():
            if code is not None and code != 0:
                self._processes[task].start()
        return None

    def failure(self) -> str | None:
        """Returns which member failed and why, as the supervisors of this group have it; None where none says."""
        for path, begin in self._log_begins.items():
            text = path.read_bytes()[begin:].decode(errors="replace") if path.exists() else ""
            reason = failure_in(text)
            if reason is not None:
                return reason
        return None

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Returns the exit code of the group, 0 done, or None after the time-out."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            code = self.poll()
            if code is not None or (until is not None and time.monotonic() > until):
                return code
            time.sleep(0.1)

    def stop(self, grace_s: float = 30.0) -> None:
        """Lets the group save and end; kills what is left after `grace_s`."""
        self._stopping = True
        stop_all(list(self._processes.values()), grace_s or 1.0)
        self._cluster.remove_secret()


def run_local_group(
    num_workers: int,
    target: Sequence[str],
    log_dir: str | os.PathLike[str],
    num_ps: int = 0,
    env: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    show_progress: bool = False,
) -> int:
    """Runs a group to its end and returns its exit code; an interrupt or SIGTERM saves first.

    Args: as `LocalGroup`; `show_progress` repeats the progress lines of the leading worker on stderr.
    """
    group = LocalGroup(num_workers, target, log_dir, num_ps, env, options)
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    try:
        group.start()
        leader = group.log_dir / f"{group.tasks[0][0]}-0.log"
        seen = leader.stat().st_size if leader.exists() else 0
        while True:
            code = group.wait(timeout_s=0.5)
            if show_progress:
                seen = _repeat_progress(leader, seen)
            if code is not None:
                if code in (exit_codes.FAILED, *exit_codes.FINAL):
                    why = group.failure() or f"exit code {code}"
                    print_line(f"fullpass: error: {why}; logs in {log_dir}{full_disk(log_dir)}", sys.stderr)
                return code
            if asked:
                group.stop()
                return exit_codes.PREEMPTED
    except KeyboardInterrupt:
        group.stop()
        return exit_codes.INTERRUPTED
    finally:
        group.stop(grace_s=0.0)
        signal.signal(signal.SIGTERM, before)


def _repeat_progress(log: Path, seen: int) -> int:
    if not log.exists() or not environment.PROGRESS.read():
        return seen
    with open(log, "rb") as file:
        file.seek(seen)
        for line in file:
            if not line.endswith(b"\n"):
                break
            seen += len(line)
            if line.startswith(b"train: "):
                print_line(line.decode(errors="replace").rstrip(), sys.stderr)
    return seen
