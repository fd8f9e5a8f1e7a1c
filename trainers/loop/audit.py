"""Which records each step used: written while training, checked against a plan by whoever doubts it.

DIRECTORY/audit/host-HHHH/PPPPPPPPPPPPPPPP-SSSSSSSSSSSS.npy: int64 [num_steps, host batch], the ids of the call that started at
step S, written by the process that began at time P (ns). After a restart a later process writes the steps again that
were not committed; the later file is the one that counts, since the model restored has nothing of the earlier.
"""

from __future__ import annotations

import time

import numpy as np

from engine.storage.atomic import atomic_file
from engine.storage.uris import local_path

__all__ = ["AuditLog", "read_audit"]


class AuditLog:
    """Writes the record ids of each call of one host. The directory must be local."""

    def __init__(self, directory: str, host: int) -> None:
        self._directory = local_path(directory) / "audit" / f"host-{host:04d}"
        self._process = time.time_ns()

    def write(self, first_step: int, record_ids: np.ndarray) -> None:
        """Records the ids of the call that started at `first_step`."""
        with atomic_file(self._directory / f"{self._process:020d}-{first_step:012d}.npy") as path:
            with open(path, "wb") as file:
                np.save(file, record_ids)


def read_audit(directory: str) -> dict[int, np.ndarray]:
    """Returns step to the record ids that made its update, int64 [global batch], hosts in order."""
    steps: dict[int, dict[str, tuple[int, np.ndarray]]] = {}
    for host in sorted((local_path(directory) / "audit").glob("host-*")):
        for path in sorted(host.glob("*.npy")):  # sorted by process: a later one replaces what an earlier one wrote
            process, first = (int(part) for part in path.stem.split("-"))
            for i, ids in enumerate(np.load(path)):
                steps.setdefault(first + i, {})[host.name] = (process, ids)
    return {
        step: np.concatenate([ids for _, (_, ids) in sorted(hosts.items())]) for step, hosts in sorted(steps.items())
    }
