"""What a cluster does to the pods of a running training: each fault hurts pods that a die chooses."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from cluster import JobHandle
from tests.clusters.soak_results import Deck
from tests.support.servers.kubernetes.cluster import Cluster

__all__ = ["PodFaults", "largest_process", "processes_of"]


def processes_of(pod_uid: str) -> dict[int, int]:
    """Returns each process of a pod with its pages of memory."""
    sizes = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if pod_uid in (folder / "cgroup").read_text():
                sizes[int(folder.name)] = int((folder / "statm").read_text().split()[1])
    return sizes


def largest_process(pod_uid: str) -> int:
    """Returns the process of a pod with the most memory: the one that trains."""
    sizes = processes_of(pod_uid)
    return max(sizes, key=sizes.__getitem__)


class PodFaults:
    """The faults, each a method.

    Args:
        kube: the cluster.
        handle: the job.
        dice: says which fault comes, and whom it hurts.
    """

    def __init__(self, kube: Cluster, handle: JobHandle, dice: random.Random) -> None:
        self._kube, self._handle, self._dice = kube, handle, dice
        self.made: Counter[str] = Counter()
        self.all: dict[str, Callable[[list[str]], None]] = {
            "pod deleted": lambda pods: self._delete(pods[:1]),
            "pod deleted without grace": lambda pods: self._delete(pods[:1], "--grace-period=0", "--force"),
            "two pods deleted": lambda pods: self._delete(pods[:2]),
            "all pods deleted": self._delete,
            "pod evicted": self.evict,
            "node's processes killed": self.kill_all,
            "training killed": self.kill_training,
            "pod stopped": self.stop,
        }
        self._kinds = Deck(self.all, dice)

    def make_one(self) -> None:
        """Makes one fault at a time of the die; none where no pod is there to be hurt."""
        time.sleep(self._dice.uniform(0.5, 4.0))  # when a fault comes is a part of it
        name = self._kinds.draw()
        pods = [task.where for task in self._handle.status().tasks if task.where]
        self._dice.shuffle(pods)
        with contextlib.suppress(ProcessLookupError, ValueError):  # the pod has just ended by itself
            if pods:
                self.all[name](pods)
                self.made[name] += 1

    def _delete(self, pods: list[str], *how: str) -> None:
        self._kube.kubectl("delete", "pod", *pods, "--wait=false", "--ignore-not-found", *how)

    def evict(self, pods: list[str]) -> None:
        """As a drained node or a budget asks for it."""
        name = {"name": pods[0], "namespace": "default"}
        body = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": name})
        path = f"/api/v1/namespaces/default/pods/{pods[0]}/eviction"
        self._kube.kubectl("create", "--raw", path, "-f", "-", stdin=body, check=False)

    def kill_all(self, pods: list[str]) -> None:
        """All processes of a pod at once, as where its runtime or its node goes."""
        for pid in processes_of(self._uid(pods[0])):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_training(self, pods: list[str]) -> None:
        """The training process alone: its supervisor starts another."""
        os.kill(largest_process(self._uid(pods[0])), signal.SIGKILL)

    def stop(self, pods: list[str]) -> None:
        """All processes of a pod stand still for a while."""
        handles = []
        for pid in processes_of(self._uid(pods[0])):
            with contextlib.suppress(ProcessLookupError):
                handles.append(os.pidfd_open(pid))
        for each in (signal.SIGSTOP, signal.SIGCONT):
            for handle in handles:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, each)
            if each == signal.SIGSTOP:
                time.sleep(self._dice.choice([0.5, 3.0, 12.0]))  # the fault itself
        for handle in handles:
            os.close(handle)

    def _uid(self, pod: str) -> str:
        found = self._kube.kubectl("get", "pod", pod, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")
        if not found:
            raise ProcessLookupError(pod)
        return found
