"""One member of a job: an actor that runs the member's program as a child process and hands on what it writes."""

from __future__ import annotations

import glob
import ipaddress
import os
import shutil
import sys
import tempfile
from pathlib import Path

from cluster.spec import JobSpec
from cluster.spec.job_spec import FILES_MOUNT
from engine.core.environment import GROUP_SECRET_FILE
from engine.machine.lock import hold_directory, unheld
from engine.machine.logged_process import LoggedProcess, stop_all
from engine.machine.own_ports import own_ports_env
from engine.machine.ports import free_ports
from trainers.rendezvous.group_secret import write_secret

__all__ = ["Member"]


def _own_directory(prefix: str) -> tuple[Path, int]:
    """Returns a new directory and the descriptor that holds it; those that killed actors of this name left are removed.

    The lock ends with its process, however that ends: what nobody holds is a leftover.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{glob.escape(prefix)}*"):
        # Other users' directories and those of living actors count as held.
        with unheld(left) as free:
            if free:
                shutil.rmtree(left, ignore_errors=True)
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    return directory, hold_directory(directory)


def _on_loopback() -> bool:
    """Whether this Ray is one of this machine alone: nobody else has to reach what TensorFlow would open to everybody."""
    import ray

    return ipaddress.ip_address(ray.util.get_node_ip_address()).is_loopback


class Member:
    """Runs one member's program. Made into a Ray actor by the coordinator.

    Args:
        spec_json: the job.
        role: of this member.
        index: within the role.
    """

    def __init__(self, spec_json: str, role: str, index: int) -> None:
        self._spec = JobSpec.from_json(spec_json)
        self._name = f"{role}-{index}"
        self._directory, self._held = _own_directory(f"fullpass-{self._spec.name}-{self._name}-")
        for name, text in self._spec.files.items():
            (self._directory / name).write_text(text)
        self._log = self._directory / ".log"
        self._log.touch()
        self._process: LoggedProcess | None = None
        self._ports: list[int] = []

    def where(self) -> dict[str, str | int]:
        """Returns {"host": IP of this node, "pid": of this actor, "node": Ray's id of the node}."""
        import ray

        return {
            "host": ray.util.get_node_ip_address(),
            "pid": os.getpid(),
            "node": ray.get_runtime_context().get_node_id(),
        }

    def free_ports(self, count: int) -> list[int]:
        """Returns ports that no program listens on now. Another may take one before it is used: the start is tried again then."""
        self._ports = free_ports(count, host="")
        return self._ports

    def start(self, env: dict[str, str], secret: str) -> int:
        """Starts the program, or starts it again, and returns its process id.

        Args:
            env: variables for this member alone (TF_CONFIG and the like), over the job's own.
            secret: of the group; its supervisors read it from a file that only this user may read.
        """
        self.stop(grace_s=0)
        secret_file = self._directory / ".group-secret"
        write_secret(secret_file, secret)
        env = {**env, GROUP_SECRET_FILE.name: str(secret_file)}
        words = [word.replace(FILES_MOUNT, str(self._directory)) for word in self._spec.words(sys.executable)]
        env = {**os.environ, **self._spec.env, **env, "PYTHONUNBUFFERED": "1"}
        if "TF_CONFIG" in env and _on_loopback():
            env |= own_ports_env(self._ports, env)
        self._process = LoggedProcess(words, self._log, env, cwd=self._spec.working_dir, dies_with_us=True)
        return self._process.start()

    def poll(self, log_offset: int, limit_bytes: int = 1 << 20) -> tuple[int | None, bytes]:
        """Returns (exit code or None while it runs, what it wrote from `log_offset` on)."""
        code = self._process.poll() if self._process else None
        with open(self._log, "rb") as log:
            log.seek(log_offset)
            return code, log.read(limit_bytes)

    def stop(self, grace_s: float) -> None:
        """Asks the program to stop (SIGTERM), kills it and its children after `grace_s` seconds."""
        if self._process is not None:
            stop_all([self._process], grace_s)

    def leave(self, grace_s: float) -> None:
        """Stops the program, as `stop` does, and removes what this actor wrote; it is of no use after that."""
        self.stop(grace_s)
        shutil.rmtree(self._directory, ignore_errors=True)
