"""Writing a checkpoint: filled aside, committed whole."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.storage import tree as storage
from engine.storage.atomic import atomic_directory
from trainers.checkpoints.directory import (
    FORMAT_VERSION,
    STATE,
    TENSORS,
    checkpoint_path,
)
from trainers.checkpoints.integrity import sealed_text
from trainers.checkpoints.table_parts import GROUP as TABLES
from trainers.checkpoints.table_parts import TableParts, tensor_key

__all__ = ["write_checkpoint"]


def write_checkpoint(
    directory: str,
    step: int,
    tensors: Mapping[str, list[tuple[str, Any]]],
    state: dict[str, Any],
    parts: TableParts | None = None,
) -> str:
    """Commits a checkpoint and returns its path; on any failure what was committed before is left untouched.

    Args:
        directory: the training directory.
        step: optimizer steps done.
        tensors: group to (path, tensor) pairs.
        state: JSON-able; version, step and the variables' names are added.
        parts: rows of tables, written by all workers; they become part of this checkpoint.
    """
    path = checkpoint_path(directory, step)
    described: dict[str, list[Any]] = {
        g: [(n, list(t.shape), t.dtype.name) for n, t in pairs] for g, pairs in tensors.items()
    }
    if parts is not None:
        described[TABLES] = list(parts.described)
        state = {**state, "table_ranges": parts.ranges}
    whole = {**state, "version": FORMAT_VERSION, "step": step, "variables": described}
    if storage.is_local(path):
        with atomic_directory(storage.local_path(path)) as temporary:
            _fill(temporary, tensors, whole, parts)
        return path
    with tempfile.TemporaryDirectory(prefix="fullpass-checkpoint-") as temporary_name:
        _fill(Path(temporary_name), tensors, whole, parts)
        # Whoever sees the state sees a whole checkpoint: an object store has no rename that could bring all files at once.
        storage.upload_tree(Path(temporary_name), path, last=STATE)
    return path


def _fill(
    folder: Path, tensors: Mapping[str, list[tuple[str, Any]]], state: Mapping[str, Any], parts: TableParts | None
) -> None:
    if parts is None:
        _write_tensors(str(folder / TENSORS), tensors)
    else:
        own = str(parts.folder / "own")
        _write_tensors(own, tensors)
        parts.join(own, str(folder / TENSORS))
    (folder / STATE).write_text(sealed_text(state, folder))


def _write_tensors(prefix: str, tensors: Mapping[str, list[tuple[str, Any]]]) -> None:
    import tensorflow as tf

    flat = [(tensor_key(g, i, name), t) for g, pairs in tensors.items() for i, (name, t) in enumerate(pairs)]
    with tf.device("/cpu:0"):
        tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=[k for k, _ in flat],
            shape_and_slices=[""] * len(flat),
            tensors=[t for _, t in flat],
        )
