"""Where the checkpoints of a training directory are, which of them are committed, and how they go.

A checkpoint is committed once its `state.json` is there: a directory without one was left by a killed writer.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from engine.storage import tree as storage
from engine.storage.atomic import remove_leftovers
from trainers.checkpoints.table_parts import remove_parts

__all__ = [
    "BEST_FILE",
    "FORMAT_VERSION",
    "STATE",
    "TENSORS",
    "UNSEALED_VERSION",
    "checkpoint_path",
    "checkpoint_steps",
    "latest_checkpoint",
    "remove_checkpoint",
    "remove_uncommitted",
    "root",
    "step_of",
]

FORMAT_VERSION = 2
UNSEALED_VERSION = 1  # written before there were digests: read as it is
STATE = "state.json"
BEST_FILE = "best.json"  # of a search: its "directory" is that of the best training
_NAME = re.compile(r"step-(\d{12})/")
_COMMIT = re.compile(rf"step-(\d{{12}})/{re.escape(STATE)}")
TENSORS = "tensors"


def root(directory: str) -> str:
    """Returns where the checkpoints of a training directory are."""
    return posixpath.join(directory, "checkpoints")


def checkpoint_path(directory: str, step: int) -> str:
    """Returns the directory of the checkpoint of a step."""
    return posixpath.join(root(directory), f"step-{step:012d}")


def checkpoint_steps(directory: str) -> list[int]:
    """Returns the steps of all committed checkpoints, oldest first."""
    return sorted(int(match.group(1)) for match in map(_COMMIT.fullmatch, _names(directory)) if match)


def _names(directory: str) -> list[str]:
    if not storage.is_local(directory):
        return storage.list_tree(root(directory))
    return [path.relative_to(path.parents[1]).as_posix() for path in _local_root(directory).glob("step-*/*")]


def _local_root(directory: str) -> Path:
    return storage.local_path(root(directory))


def remove_uncommitted(directory: str) -> None:
    """Deletes what killed writers left. Call it when none is writing."""
    if storage.is_local(directory):
        remove_leftovers(_local_root(directory))
        remove_parts(root(directory))
        return
    names = _names(directory)
    there = {int(match.group(1)) for match in map(_NAME.match, names) if match}
    for step in sorted(there - set(checkpoint_steps(directory))):
        storage.delete_tree(checkpoint_path(directory, step))


def latest_checkpoint(directory: str) -> str | None:
    """Returns the path of the newest committed checkpoint of a training directory, or None."""
    steps = checkpoint_steps(directory)
    return checkpoint_path(directory, steps[-1]) if steps else None


def step_of(path: str) -> int | None:
    """Returns the step in the name of a checkpoint's directory; a copy elsewhere may have any name."""
    match = _NAME.fullmatch(posixpath.basename(path.rstrip("/")) + "/")
    return int(match.group(1)) if match else None


def remove_checkpoint(directory: str, step: int) -> None:
    """Deletes a checkpoint: first the commit mark, so that a half deleted one does not count."""
    storage.delete_tree(checkpoint_path(directory, step), first=STATE)
