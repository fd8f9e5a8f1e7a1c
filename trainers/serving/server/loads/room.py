"""Whether a version fits into the memory that is free."""

from __future__ import annotations

from pathlib import Path

from engine.core.errors import ConfigError
from engine.machine.cgroup import free_group_bytes
from trainers.serving.server.config import Limits

__all__ = ["NoRoom", "check_room"]


class NoRoom(ConfigError):
    """A version would not fit into the memory that is free now."""


def check_room(path: Path, limits: Limits) -> None:
    """Looks at the files of a version, of which a loaded one takes at least as much.

    Raises:
        NoRoom: they are larger than the share of the free memory that a version may take.
    """
    import psutil

    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    # A container's limit is not in what the machine says.
    left = free_group_bytes()
    free = min(psutil.virtual_memory().available, left if left is not None else 1 << 62)
    if size > free * limits.memory_share:
        raise NoRoom(
            f"{path} takes at least {size >> 20} MiB, and a version may take {limits.memory_share:g} of the {free >> 20} MiB of memory "
            f"that are free: it is not loaded, and looked at again every {limits.load_again_s:g} s; give the server more memory, or "
            "serve fewer versions"
        )
