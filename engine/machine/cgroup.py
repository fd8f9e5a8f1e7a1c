"""Memory of the control group that this process is in: its peak, its limit, and how often the kernel killed for it.

Both versions of Linux's control groups, as a container sees them: its own group is the root of the mounted tree
(https://docs.kernel.org/admin-guide/cgroup-v2.html, .../cgroup-v1/memory.html). A process that the kernel kills for memory
writes nothing; what outlives it can only read here what happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["GroupMemory", "free_group_bytes", "read_group_memory"]

_ROOT = Path("/sys/fs/cgroup")
_UNLIMITED_BYTES = 1 << 60  # version 1 writes "no limit" as the largest multiple of a page


@dataclass(frozen=True, kw_only=True)
class GroupMemory:
    """Memory of a control group.

    Attributes:
        peak_bytes: most that it ever used.
        limit_bytes: most that it may use.
        kills: processes that the kernel killed because the limit was reached.
    """

    peak_bytes: int
    limit_bytes: int
    kills: int

    def __str__(self) -> str:
        mebibyte = 1 << 20
        return f"memory peaked at {self.peak_bytes / mebibyte:,.0f} MiB, the limit is {self.limit_bytes / mebibyte:,.0f} MiB"


def read_group_memory(root: Path = _ROOT) -> GroupMemory | None:
    """Returns the memory of this control group, or None where it has no limit or the system does not tell.

    Args:
        root: where control groups are mounted.
    """
    second, first = root, root / "memory"
    try:
        if (second / "memory.max").exists():
            peak, limit, events = second / "memory.peak", second / "memory.max", second / "memory.events"
        else:
            peak, limit = first / "memory.max_usage_in_bytes", first / "memory.limit_in_bytes"
            events = first / "memory.oom_control"
        said = limit.read_text().strip()
        if said == "max" or int(said) >= _UNLIMITED_BYTES:
            return None
        counts = dict(line.split() for line in events.read_text().splitlines())
        return GroupMemory(
            peak_bytes=int(peak.read_text()), limit_bytes=int(said), kills=int(counts.get("oom_kill", 0))
        )
    except (OSError, ValueError):  # no such file: another system, or an older kernel
        return None


def free_group_bytes(root: Path = _ROOT) -> int | None:
    """Returns how many bytes this control group may still take, or None where it has no limit or the system does not tell.

    Pages of files that nobody used lately count as free: the kernel drops them first.

    Args:
        root: where control groups are mounted.
    """
    try:
        if (root / "memory.max").exists():
            limit, used, idle = root / "memory.max", root / "memory.current", "inactive_file"
            stat = root / "memory.stat"
        else:
            first = root / "memory"
            limit, used, idle = first / "memory.limit_in_bytes", first / "memory.usage_in_bytes", "total_inactive_file"
            stat = first / "memory.stat"
        said = limit.read_text().strip()
        if said == "max" or int(said) >= _UNLIMITED_BYTES:
            return None
        counts = dict(line.split() for line in stat.read_text().splitlines())
        return max(0, int(said) - int(used.read_text()) + int(counts.get(idle, 0)))
    except (OSError, ValueError):
        return None
