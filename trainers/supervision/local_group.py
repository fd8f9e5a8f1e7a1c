"""A group of supervised workers on this machine: free ports, one log file each, supervisors replaced when they die."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.core import environment, exit_codes
from engine.core.errors import ConfigError
from engine.machine.ports import free_ports
from trainers.rendezvous.group_secret import new_secret, write_secret
from trainers.supervision.failure_line import failure_in
from trainers.supervision.own_ports import own_ports_env
from trainers.supervision.tf_config import TASK_TYPES, tf_config

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
        ports = iter(free_ports(sum(sizes.values()) + 1))
        self._rendezvous = f"127.0.0.1:{next(ports)}"
        self._cluster = {kind: [f"127.0.0.1:{next(ports)}" for _ in range(n)] for kind, n in sizes.items() if n}
        self.tasks = [(kind, i) for kind in TASK_TYPES for i in range(sizes.get(kind, 0))]
        self._target, self._options, self._env = list(target), list(options), dict(env or {})
        self.log_dir = Path(log_dir)
        self._run_id = secrets.token_hex(8)
        self._processes: dict[tuple[str, int], subprocess.Popen[bytes]] = {}
        self._stopping = False
        self._secret_file: Path | None = None

    def start(self) -> LocalGroup:
        """Starts all supervisors."""
        try:
            self.log_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self.log_dir} cannot be made: {error.strerror}; give another directory") from None
        # What an earlier group wrote there is not ours.
        logs = [self.log_dir / f"{kind}-{index}.supervisor.log" for kind, index in self.tasks]
        self._log_begins = {path: path.stat().st_size if path.exists() else 0 for path in logs}
        # Beside the logs, since a supervisor that is started again reads it again.
        self._secret_file = (self.log_dir / f".secret-{self._run_id}").absolute()
        write_secret(self._secret_file, new_secret())
        for task in self.tasks:
            self._spawn(task)
        return self

    def _spawn(self, task: tuple[str, int]) -> None:
        kind, index = task
        name = f"{kind}-{index}"
        env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **self._env, environment.RENDEZVOUS.name: self._rendezvous}
        env[environment.RUN_ID.name] = self._run_id
        env[environment.GROUP_SECRET_FILE.name] = str(self._secret_file)
        env.pop("TF_CONFIG", None)
        if len(self.tasks) > 1:  # a single one has no server
            env |= own_ports_env(self.ports, env)
            env["TF_CONFIG"] = tf_config(self._cluster, kind, index)
        if name != "worker-0" and name != "chief-0":
            env[environment.PROGRESS.name] = "0"
        log = str(self.log_dir / f"{name}.log")
        command = [
            sys.executable,
            "-m",
            "trainers.supervision.worker",
            "--while-stdin",
            "--log",
            log,
            *self._options,
            "--",
            *self._target,
        ]
        with open(self.log_dir / f"{name}.supervisor.log", "ab") as out:
            # A session of its own: an interrupt on the terminal reaches the group once, through `stop`.
            self._processes[task] = subprocess.Popen(
                command, env=env, stdout=out, stderr=out, stdin=subprocess.PIPE, start_new_session=True
            )

    @property
    def ports(self) -> list[int]:
        """Ports that TensorFlow listens on, in the order of ranks."""
        return [int(address.rpartition(":")[2]) for group in self._cluster.values() for address in group]

    @property
    def rendezvous(self) -> str:
        """Where the supervisors meet, "host:port"."""
        return self._rendezvous

    @property
    def pids(self) -> dict[tuple[str, int], int]:
        """(type, index) to the process id of the supervisor."""
        return {task: process.pid for task, process in self._processes.items()}

    def poll(self) -> int | None:
        """Replaces supervisors that were killed or preempted; returns the exit code when the group has ended."""
        codes = {task: process.poll() for task, process in self._processes.items()}
        failed = [c for c in codes.values() if c in (exit_codes.FAILED, *exit_codes.FINAL)]
        if failed:
            self._await_others(2.0)
            self.stop(grace_s=0.0)
            return min(failed, key=lambda c: c == 1)
        if any(code == 0 for code in codes.values()):
            # A supervisor ends with 0 only when the whole group is done.
            self._await_others(5.0)
            self.stop(grace_s=0.0)
            return 0
        if self._stopping:
            return exit_codes.PREEMPTED if all(code is not None for code in codes.values()) else None
        for task, code in codes.items():
            if code is not None and code != 0:
                self._spawn(task)
        return None

    def failure(self) -> str | None:
        """Returns which member failed and why, as the supervisors of this group have it; None where none says."""
        for path, begin in self._log_begins.items():
            text = path.read_bytes()[begin:].decode(errors="replace") if path.exists() else ""
            reason = failure_in(text)
            if reason is not None:
                return reason
        return None

    def _await_others(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(p.poll() is None for p in self._processes.values()):
            time.sleep(0.05)

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
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        self._await_others(grace_s if grace_s else 1.0)
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        if self._secret_file is not None:
            self._secret_file.unlink(missing_ok=True)


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
                    print(f"fullpass: error: {why}; logs in {log_dir}", file=sys.stderr, flush=True)
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
                print(line.decode(errors="replace").rstrip(), file=sys.stderr, flush=True)
    return seen
