"""Checkpoints on disk: whole or not there, kept by count and time.

DIRECTORY/checkpoints/step-000000001200/ holds the tensors as a TensorFlow tensor bundle (`tensors.index`,
`tensors.data-...`; `tf.train.load_checkpoint` reads it, every tensor has a CRC) and `state.json`, whose presence is
the commit. On a local file system the directory is filled under a hidden name, flushed and renamed; to an object store,
which has no rename, the files are sent from a local copy, `state.json` last.
"""

from __future__ import annotations

import functools
import json
import posixpath
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.core.errors import ConfigError, FullpassError
from engine.storage import tree as storage
from engine.storage.atomic import atomic_directory, remove_leftovers

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "checkpoint_steps",
    "latest_checkpoint",
    "load_checkpoint",
    "remove_checkpoint",
    "remove_uncommitted",
    "restore_model",
    "write_checkpoint",
]

FORMAT_VERSION = 1
_STATE = "state.json"
_NAME = re.compile(r"step-(\d{12})/")
_COMMIT = re.compile(rf"step-(\d{{12}})/{re.escape(_STATE)}")
_TENSORS = "tensors"


class CheckpointError(FullpassError):
    """A checkpoint that cannot be read, or does not belong to this training."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A committed checkpoint.

    Args:
        path: its directory.
        state: what `state.json` says: step, epoch, feed, history, config, variables and more.
    """

    path: str
    state: Mapping[str, Any]

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return int(self.state["step"])

    @functools.cached_property
    def _copy(self) -> tempfile.TemporaryDirectory[str] | None:
        """Where the tensors are, when that is not `path`: a copy of what TensorFlow cannot open, deleted with this object."""
        if storage.is_local(self.path):
            return None
        copy = tempfile.TemporaryDirectory(prefix="fullpass-checkpoint-")
        names = [name for name in storage.list_tree(self.path) if name.startswith(_TENSORS)]
        storage.download(self.path, names, Path(copy.name))
        return copy

    def tensors(self, group: str) -> dict[str, Any]:
        """Returns path to array of one group ("model", "optimizer", "average"), in the order they were saved.

        Raises:
            CheckpointError: a tensor is missing or its CRC does not hold.
        """
        import tensorflow as tf

        entries = self.state["variables"].get(group, [])
        keys = [_key(group, i, name) for i, (name, _, _) in enumerate(entries)]
        if not keys:
            return {}
        kinds = [tf.as_dtype(kind) for _, _, kind in entries]
        folder = self._copy.name if self._copy is not None else str(storage.local_path(self.path))
        try:
            values = tf.raw_ops.RestoreV2(
                prefix=posixpath.join(folder, _TENSORS),
                tensor_names=keys,
                shape_and_slices=[""] * len(keys),
                dtypes=kinds,
            )
        except tf.errors.OpError as error:
            raise CheckpointError(f"{self.path}: the {group} tensors cannot be read: {error.message}") from None
        return {f"{i}:{name}": value for i, ((name, _, _), value) in enumerate(zip(entries, values))}


def _key(group: str, index: int, name: str) -> str:
    return f"{group}/{index:05d}/{name}"


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
        return
    names = _names(directory)
    there = {int(match.group(1)) for match in map(_NAME.match, names) if match}
    for step in sorted(there - set(checkpoint_steps(directory))):
        storage.delete_tree(checkpoint_path(directory, step))


def latest_checkpoint(directory: str) -> str | None:
    """Returns the path of the newest committed checkpoint of a training directory, or None."""
    steps = checkpoint_steps(directory)
    return checkpoint_path(directory, steps[-1]) if steps else None


def load_checkpoint(path: str) -> Checkpoint:
    """Returns a committed checkpoint; `path` is its directory, or the training directory (then the newest one).

    Raises:
        CheckpointError: none there, not committed, or of another format version.
    """
    path = str(path)
    text = storage.read_text(posixpath.join(path, _STATE))
    if text is None:
        newest = latest_checkpoint(path)
        if newest is None:
            raise CheckpointError(f"{path}: no committed checkpoint there (no {_STATE})")
        path, text = newest, storage.read_text(posixpath.join(newest, _STATE)) or ""
    state_path = posixpath.join(path, _STATE)
    try:
        state = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{state_path}: not valid JSON: {error}") from None
    if state.get("version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{state_path}: format version {state.get('version')!r}, this code reads {FORMAT_VERSION}"
        )
    return Checkpoint(path=path, state=state)


def write_checkpoint(directory: str, step: int, tensors: Mapping[str, list[tuple[str, Any]]], state: dict) -> str:
    """Commits a checkpoint and returns its path; on any failure what was committed before stands untouched.

    Args:
        directory: the training directory.
        step: optimizer steps done.
        tensors: group to (path, tensor) pairs.
        state: JSON-able; version, step and the variables' names are added.
    """
    path = checkpoint_path(directory, step)
    described = {g: [(n, list(t.shape), t.dtype.name) for n, t in pairs] for g, pairs in tensors.items()}
    text = json.dumps({**state, "version": FORMAT_VERSION, "step": step, "variables": described}, default=str)
    if storage.is_local(path):
        with atomic_directory(storage.local_path(path)) as temporary:
            _fill(temporary, tensors, text)
        return path
    with tempfile.TemporaryDirectory(prefix="fullpass-checkpoint-") as temporary_name:
        _fill(Path(temporary_name), tensors, text)
        storage.upload_tree(Path(temporary_name), path, last=_STATE)
    return path


def _fill(folder: Path, tensors: Mapping[str, list[tuple[str, Any]]], state_text: str) -> None:
    _write_tensors(str(folder), tensors)
    (folder / _STATE).write_text(state_text)


def _write_tensors(path: str, tensors: Mapping[str, list[tuple[str, Any]]]) -> None:
    import tensorflow as tf

    flat = [(_key(g, i, name), t) for g, pairs in tensors.items() for i, (name, t) in enumerate(pairs)]
    with tf.device("/cpu:0"):
        tf.raw_ops.SaveV2(
            prefix=posixpath.join(path, _TENSORS),
            tensor_names=[k for k, _ in flat],
            shape_and_slices=[""] * len(flat),
            tensors=[t for _, t in flat],
        )


def remove_checkpoint(directory: str, step: int) -> None:
    """Deletes a checkpoint: first the commit mark, so that a half deleted one is none."""
    storage.delete_tree(checkpoint_path(directory, step), first=_STATE)


def assign_group(
    checkpoint: Checkpoint, group: str, named: list[tuple[str, Any]], assign: Callable | None = None
) -> None:
    """Gives variables the values of a checkpoint's group, in order.

    Raises:
        CheckpointError: number, shape or type differ: the message names the first variable that does not fit.
    """
    saved = checkpoint.state["variables"].get(group, [])
    if len(saved) != len(named):
        raise CheckpointError(f"{checkpoint.path}: it has {len(saved)} {group} variables, this model has {len(named)}")
    for (name, shape, kind), (mine, variable) in zip(saved, named):
        if list(variable.shape) != list(shape) or variable.dtype.name != kind:
            raise CheckpointError(
                f"{checkpoint.path}: {group} variable '{name}' is {kind} {list(shape)}, "
                f"in this model '{mine}' is {variable.dtype.name} {list(variable.shape)}"
            )
    for (_, variable), value in zip(named, checkpoint.tensors(group).values()):
        assign(variable, value) if assign is not None else variable.assign(value)


def restore_model(model: Any, path: str, use_average: bool = False) -> Checkpoint:
    """Puts the weights of a checkpoint into a freshly built model of the same architecture.

    Args:
        model: a Keras model (either generation) or tf.Module whose variables exist.
        path: checkpoint or training directory.
        use_average: take the moving averages for the trainable weights; the checkpoint must have them.

    Returns:
        The checkpoint that was read.
    """
    checkpoint = load_checkpoint(path)
    variables = [(getattr(v, "path", v.name), getattr(v, "value", v)) for v in model.variables]
    variables = [(name, v() if callable(v) else v) for name, v in variables]
    assign_group(checkpoint, "model", variables)
    if use_average:
        if not checkpoint.state["variables"].get("average"):
            raise ConfigError(f"{checkpoint.path}: it has no moving averages: it was trained without ema_decay")
        trainable = [(getattr(v, "path", v.name), getattr(v, "value", v)) for v in model.trainable_variables]
        trainable = [(name, v() if callable(v) else v) for name, v in trainable]
        assign_group(checkpoint, "average", trainable)
    return checkpoint
