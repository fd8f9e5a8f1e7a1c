"""Processes of this machine: which one is meant, whether it still runs, and its end with all that it started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
from pathlib import Path

__all__ = ["alive", "die_with_parent", "kill_tree", "process_mark", "processors", "working_directory"]

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PID = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)


def processors() -> int:
    """Returns how many processors this process may run on: a container or taskset leaves it fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def working_directory() -> str | None:
    """Returns this process's working directory, or None where it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return None


def die_with_parent(parent: int | None = None) -> None:
    """Makes the kernel kill this process when its parent dies, however that happens: no orphan goes on training.

    Linux only; elsewhere nothing is changed. Call it in the child, before it starts threads.

    Args:
        parent: process id of the parent, from before the fork where that is known; a parent that died in between is noticed.
    """
    parent = os.getppid() if parent is None else parent
    with contextlib.suppress(AttributeError):  # another system's C library has no prctl
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def process_mark(pid: int) -> str:
    """Returns a text that no later process with the same number has: number and start time; "PID:" where there is none."""
    import psutil

    try:
        if psutil.LINUX:
            # Ticks since boot. psutil's create_time adds the time of the boot, which moves with the wall clock: a clock that is set
            # would give a living process another mark (https://github.com/giampaolo/psutil/issues/2526).
            stat = Path(f"/proc/{pid}/stat").read_text()
            return f"{pid}:{stat.rpartition(')')[2].split()[19]}"
        return f"{pid}:{psutil.Process(pid).create_time():.2f}"
    except (OSError, psutil.Error):
        return f"{pid}:"


def alive(mark: str) -> bool:
    """Returns whether the process that a mark was made of still runs; an ended one that nobody waited for does not."""
    import psutil

    number, _, started = mark.partition(":")
    if not _PID.fullmatch(number) or not started or process_mark(int(number)) != mark:
        return False
    try:
        return bool(psutil.Process(int(number)).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def kill_tree(pid: int) -> None:
    """Kills a process, all that it started (sessions of their own too), and its process group where it leads one.

    The group is for children whose parents are gone already, which no longer count as descendants.
    """
    import psutil

    found: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        found = [process, *process.children(recursive=True)]
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # no group has this number unless the process leads it
    for each in found:
        with contextlib.suppress(psutil.Error):
            each.kill()
