"""Memory of the control group that this process is in: its peak, its limit, and how often the kernel killed for it.

Both versions of Linux's control groups, as a container sees them: its own group is the root of the mounted tree
(https://docs.kernel.org/admin-guide/cgroup-v2.html, .../cgroup-v1/memory.html). A process that the kernel kills for memory
writes nothing; what outlives it can only read here what happened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PEAK_SENTENCE", "GroupMemory", "free_group_bytes", "read_group_memory"]

# What `str` of a `GroupMemory` looks like: found again in the last lines of a pod, where all that is left of it is text.
PEAK_SENTENCE = re.compile(r"memory peaked at [\d,]+ MiB, the limit is [\d,]+ MiB")
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
    found = _read(
        root,
        first=("memory.max_usage_in_bytes", "memory.oom_control"),
        second=("memory.peak", "memory.events"),
    )
    if found is None:
        return None
    limit_bytes, peak_bytes, counts = found
    return GroupMemory(peak_bytes=peak_bytes, limit_bytes=limit_bytes, kills=counts.get("oom_kill", 0))


def free_group_bytes(root: Path = _ROOT) -> int | None:
    """Returns how many bytes this control group may still take, or None where it has no limit or the system does not tell.

    Pages of files that nobody used lately count as free: the kernel drops them first.

    Args:
        root: where control groups are mounted.
    """
    found = _read(root, first=("memory.usage_in_bytes", "memory.stat"), second=("memory.current", "memory.stat"))
    if found is None:
        return None
    limit_bytes, used_bytes, counts = found
    # Version 1 counts the group alone under the plain name, and all that is below it under this one.
    idle_bytes = counts.get("total_inactive_file", counts.get("inactive_file", 0))
    return max(0, limit_bytes - used_bytes + idle_bytes)


def _read(root: Path, *, first: tuple[str, str], second: tuple[str, str]) -> tuple[int, int, dict[str, int]] | None:
    """(limit, number of one file, named numbers of another), the files by version; None where there is no limit or file."""
    try:
        if (root / "memory.max").exists():
            folder, limit, (number, counts) = root, "memory.max", second
        else:
            folder, limit, (number, counts) = root / "memory", "memory.limit_in_bytes", first
        said = (folder / limit).read_text().strip()
        if said == "max" or int(said) >= _UNLIMITED_BYTES:
            return None
        pairs = (line.split() for line in (folder / counts).read_text().splitlines())
        return int(said), int((folder / number).read_text()), {name: int(value) for name, value in pairs}
    except (OSError, ValueError):  # no such file: another system, or an older kernel
        return None
