"""A TensorFlow cluster on this machine: an address for each task, and what its processes have in their environment."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from engine.core import environment
from engine.machine.own_ports import own_ports_env
from engine.machine.ports import free_ports
from trainers.rendezvous.group_secret import new_secret, write_secret
from trainers.supervision.tf_config import TASK_TYPES, tf_config

__all__ = ["LocalCluster"]


class LocalCluster:
    """Free ports of this machine for the tasks of a group and for the rendezvous of their supervisors.

    Args:
        sizes: type of task → how many.
        run_id: equal in all members of the group, and in no other group.
        secret_file: path that `write_secret` writes to; members read it again whenever they start.
    """

    def __init__(self, sizes: Mapping[str, int], run_id: str, secret_file: Path) -> None:
        self.tasks = [(kind, index) for kind in TASK_TYPES for index in range(sizes.get(kind, 0))]
        ports = iter(free_ports(len(self.tasks) + 1))
        self.rendezvous = f"127.0.0.1:{next(ports)}"
        self._addresses: dict[str, list[str]] = {}
        for kind, _ in self.tasks:
            self._addresses.setdefault(kind, []).append(f"127.0.0.1:{next(ports)}")
        self._run_id, self._secret_file = run_id, secret_file.absolute()

    @property
    def ports(self) -> list[int]:
        """Ports that TensorFlow listens on, in the order of ranks."""
        return [int(address.rpartition(":")[2]) for group in self._addresses.values() for address in group]

    def write_secret(self) -> None:
        """Writes a new secret, in a file that only this user may read."""
        write_secret(self._secret_file, new_secret())

    def remove_secret(self) -> None:
        """Removes the secret; no member can be started after that."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._secret_file.unlink()

    def environment(self, task: tuple[str, int], environ: Mapping[str, str]) -> dict[str, str]:
        """Returns the environment of a task's process: TF_CONFIG, the rendezvous, the secret, and whose TensorFlow's ports are.

        Args:
            task: (type, index).
            environ: what it has besides.
        """
        env = {
            **environ,
            environment.RENDEZVOUS.name: self.rendezvous,
            environment.RUN_ID.name: self._run_id,
            environment.GROUP_SECRET_FILE.name: str(self._secret_file),
            "TF_CONFIG": tf_config(self._addresses, *task),
        }
        # A single task has no server.
        return env | own_ports_env(self.ports, env) if len(self.tasks) > 1 else env
