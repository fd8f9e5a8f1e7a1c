"""Checkpoints on disk: whole or not there, kept by count and time.

DIRECTORY/checkpoints/step-000000001200/ holds the tensors as a TensorFlow tensor bundle (`tensors.index`,
`tensors.data-...`; `tf.train.load_checkpoint` reads it, every tensor has a CRC) and `state.json`, whose presence is
the commit. On a local file system the directory is filled under a hidden name, flushed and renamed; on an object store,
which has no rename, `state.json` is simply written last.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.atomic import atomic_directory
from engine.errors import ConfigError, FullpassError

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "checkpoint_steps",
    "latest_checkpoint",
    "load_checkpoint",
    "remove_checkpoint",
    "restore_model",
    "write_checkpoint",
]

FORMAT_VERSION = 1
_NAME = re.compile(r"step-(\d{12})/?")
_STATE = "state.json"
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

    def tensors(self, group: str) -> dict[str, Any]:
        """Returns path to array of one group ("model", "optimizer", "average"), in the order they were saved.

        Raises:
            CheckpointError: a tensor is missing or its CRC does not hold.
        """
        import tensorflow as tf

        prefix = posixpath.join(self.path, _TENSORS)
        entries = self.state["variables"].get(group, [])
        keys = [_key(group, i, name) for i, (name, _, _) in enumerate(entries)]
        if not keys:
            return {}
        kinds = [tf.as_dtype(kind) for _, _, kind in entries]
        try:
            values = tf.raw_ops.RestoreV2(
                prefix=prefix, tensor_names=keys, shape_and_slices=[""] * len(keys), dtypes=kinds
            )
        except tf.errors.OpError as error:
            raise CheckpointError(f"{self.path}: the {group} tensors cannot be read: {error.message}") from None
        return {f"{i}:{name}": value for i, ((name, _, _), value) in enumerate(zip(entries, values))}


def _key(group: str, index: int, name: str) -> str:
    return f"{group}/{index:05d}/{name}"


def root(directory: str) -> str:
    """Returns where the checkpoints of a training directory are."""
    return posixpath.join(directory, "checkpoints")


def is_local(path: str) -> bool:
    """Returns whether a path is on a local file system, where renames are atomic."""
    return "://" not in path or path.startswith("file://")


def checkpoint_path(directory: str, step: int) -> str:
    """Returns the directory of the checkpoint of a step."""
    return posixpath.join(root(directory), f"step-{step:012d}")


def checkpoint_steps(directory: str) -> list[int]:
    """Returns the steps of all committed checkpoints, oldest first."""
    import tensorflow as tf

    base = root(directory)
    if not tf.io.gfile.isdir(base):
        return []
    steps = [int(m.group(1)) for m in map(_NAME.fullmatch, tf.io.gfile.listdir(base)) if m]
    return sorted(s for s in steps if tf.io.gfile.exists(posixpath.join(checkpoint_path(directory, s), _STATE)))


def latest_checkpoint(directory: str) -> str | None:
    """Returns the path of the newest committed checkpoint of a training directory, or None."""
    steps = checkpoint_steps(directory)
    return checkpoint_path(directory, steps[-1]) if steps else None


def load_checkpoint(path: str) -> Checkpoint:
    """Returns a committed checkpoint; `path` is its directory, or the training directory (then the newest one).

    Raises:
        CheckpointError: none there, not committed, or of another format version.
    """
    import tensorflow as tf

    path = str(path)
    state_path = posixpath.join(path, _STATE)
    if not tf.io.gfile.exists(state_path):
        newest = latest_checkpoint(path)
        if newest is None:
            raise CheckpointError(f"{path}: no committed checkpoint there (no {_STATE})")
        path, state_path = newest, posixpath.join(newest, _STATE)
    with tf.io.gfile.GFile(state_path) as file:
        try:
            state = json.loads(file.read())
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
    if is_local(path):
        with atomic_directory(path.removeprefix("file://")) as temporary:
            _write_tensors(str(temporary), tensors)
            (temporary / _STATE).write_text(text)
    else:
        import tensorflow as tf

        tf.io.gfile.makedirs(path)
        _write_tensors(path, tensors)
        with tf.io.gfile.GFile(posixpath.join(path, _STATE), "w") as file:
            file.write(text)
    return path


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
    import tensorflow as tf

    path = checkpoint_path(directory, step)
    if is_local(path):
        (Path(path.removeprefix("file://")) / _STATE).unlink(missing_ok=True)
    else:
        tf.io.gfile.remove(posixpath.join(path, _STATE))
    tf.io.gfile.rmtree(path)


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
