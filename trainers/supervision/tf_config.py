"""TF_CONFIG from one pure function, and what a process reads back from it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.core.errors import ConfigError
from engine.core.json_text import parse_json

__all__ = ["Task", "host_and_port", "task_from_env", "task_from_json", "tf_config"]

# The order is the order of ranks: whoever comes first leads.
TASK_TYPES = ("chief", "worker", "ps", "evaluator")


def tf_config(cluster: Mapping[str, Sequence[str]], task_type: str, task_index: int) -> str:
    """Returns the value of TF_CONFIG for one task of a cluster.

    Args:
        cluster: task type ("chief", "worker", "ps", "evaluator") to the "host:port" of each task, in order.
        task_type: type of the task that the value is for.
        task_index: its index within the type, from 0.

    Returns:
        JSON with sorted keys: equal arguments give equal text.

    Raises:
        ConfigError: an unknown type, an index out of range, an address without port, or one used twice.
    """
    addresses = {kind: list(cluster[kind]) for kind in TASK_TYPES if cluster.get(kind)}
    unknown = sorted(set(cluster) - set(TASK_TYPES))
    if unknown:
        raise ConfigError(f"task type {unknown[0]!r}: allowed are {', '.join(TASK_TYPES)}")
    if not 0 <= task_index < len(addresses.get(task_type, ())):
        raise ConfigError(f"task {task_type}:{task_index} is not in the cluster {addresses}")
    flat = [address for group in addresses.values() for address in group]
    for address in flat:
        found = host_and_port(address)
        if found is None or not found[1]:
            raise ConfigError(f"address {address!r}: 'host:port' is expected")
    if len(set(flat)) != len(flat):
        twice = sorted({a for a in flat if flat.count(a) > 1})
        raise ConfigError(f"address {twice[0]!r} occurs twice in the cluster")
    return json.dumps({"cluster": addresses, "task": {"type": task_type, "index": task_index}}, sort_keys=True)


def host_and_port(address: str) -> tuple[str, int] | None:
    """Returns both of "host:port", None of anything else."""
    host, _, port = address.rpartition(":")
    number = int(port) if port.isdecimal() and len(port) < 20 else -1  # Python reads no number of 5,000 digits
    return (host, number) if host and 0 <= number < 65536 else None


@dataclass(frozen=True, kw_only=True)
class Task:
    """This process's place in a cluster.

    Args:
        type: "chief", "worker", "ps" or "evaluator".
        index: index within the type.
        cluster: task type to addresses; empty for a single process.
    """

    type: str = "worker"
    index: int = 0
    cluster: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def num_training_tasks(self) -> int:
        """Tasks that compute gradients: chief and workers; 1 without a cluster."""
        return max(1, sum(len(self.cluster.get(kind, ())) for kind in ("chief", "worker")))

    @property
    def num_tasks(self) -> int:
        """All tasks of the cluster; 1 without a cluster."""
        return max(1, sum(len(group) for group in self.cluster.values()))

    @property
    def rank(self) -> int:
        """Place in the order chief, workers, ps, evaluators; rank 0 leads."""
        before = TASK_TYPES[: TASK_TYPES.index(self.type)]
        return sum(len(self.cluster.get(kind, ())) for kind in before) + self.index

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses in the order of ranks."""
        return tuple(a for kind in TASK_TYPES for a in self.cluster.get(kind, ()))


def task_from_json(text: str) -> Task:
    """Returns the task that a TF_CONFIG value describes.

    Raises:
        ConfigError: no JSON, or not of TF_CONFIG's form.
    """
    if not text.strip():
        return Task()
    try:
        value: dict[str, Any] = parse_json(text)
        cluster = {str(kind): tuple(map(str, addresses)) for kind, addresses in value.get("cluster", {}).items()}
        task = value.get("task", {})
        found = Task(type=str(task.get("type", "worker")), index=int(task.get("index", 0)), cluster=cluster)
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"TF_CONFIG={text!r} is not valid: {error}") from None
    if cluster:
        tf_config(cluster, found.type, found.index)
    return found


def task_from_env(environ: Mapping[str, str] | None = None) -> Task:
    """Returns the task of the TF_CONFIG of the environment (of this process where None)."""
    return task_from_json((os.environ if environ is None else environ).get("TF_CONFIG", ""))
