"""A file system of a test's own, which may be filled."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

__all__ = ["file_system_at"]


@contextlib.contextmanager
def file_system_at(directory: str | os.PathLike[str], size: str) -> Iterator[bool]:
    """A directory is a file system of this size, such as "256k", in the block; yields whether one could be mounted: only root may."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", os.fspath(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "--lazy", os.fspath(directory)], check=True)
