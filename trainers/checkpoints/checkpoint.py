"""Checkpoints on disk: whole or not there, kept by count and time.

DIRECTORY/checkpoints/step-000000001200/ holds the tensors as a TensorFlow tensor bundle (`tensors.index`,
`tensors.data-...`; `tf.train.load_checkpoint` reads it, every tensor has a CRC) and `state.json`, whose presence is
the commit and whose digests bind it to the tensors. On a local file system the directory is filled under a hidden name,
flushed and renamed; to an object store, which has no rename, the files are sent from a local copy, `state.json` last.
"""

from __future__ import annotations

import contextlib
import functools
import posixpath
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from engine.core import exit_codes
from engine.core.errors import FullpassError
from engine.core.json_text import parse_json
from engine.storage import tree as storage
from trainers.checkpoints.directory import (
    BEST_FILE,
    FORMAT_VERSION,
    STATE,
    TENSORS,
    UNSEALED_VERSION,
    checkpoint_path,
    latest_checkpoint,
    step_of,
)
from trainers.checkpoints.integrity import damage_of_state, damage_of_tensors, digest_of_state
from trainers.checkpoints.table_parts import GROUP as TABLES
from trainers.checkpoints.table_parts import read_rows, tensor_key, verify_rows

__all__ = ["Checkpoint", "CheckpointError", "CheckpointNotWritten", "load_checkpoint"]


class CheckpointError(FullpassError):
    """A checkpoint that cannot be read, or does not belong to this training."""


class CheckpointNotWritten(CheckpointError):
    """A store that is full or away: no fault of the settings, so a worker that starts again may succeed."""

    exit_code = exit_codes.FAILED


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

    @property
    def identity(self) -> dict[str, Any]:
        """Step, and digest of state and tensors (None of one written before there were digests)."""
        return {"step": self.step, "sha256": digest_of_state(self.state)}

    @property
    def best_step(self) -> int | None:
        """The step of the best evaluation, where the training restores it at its end; None where it keeps the last."""
        stopping = self.state.get("config", {}).get("early_stopping")
        if not stopping or not stopping.get("restore_best", True):
            return None
        step: int | None = self.state.get("training", {}).get("best_step")
        return step

    @functools.cached_property
    def _copy(self) -> tempfile.TemporaryDirectory[str] | None:
        """Where the tensors are, when that is not `path`: a copy of what TensorFlow cannot open, deleted with this object."""
        if storage.is_local(self.path):
            return None
        copy = tempfile.TemporaryDirectory(prefix="fullpass-checkpoint-")
        names = [name for name in storage.list_tree(self.path) if name.startswith(TENSORS)]
        storage.download(self.path, names, Path(copy.name))
        return copy

    @functools.cached_property
    def _checked_folder(self) -> str:
        folder = self._copy.name if self._copy is not None else str(storage.local_path(self.path))
        damage = damage_of_tensors(self.state, Path(folder))
        if damage is not None:
            raise CheckpointError(f"{self.path}: {damage}; go on from another checkpoint")
        return folder

    def verify(self) -> None:
        """Reads every tensor.

        Raises:
            CheckpointError: a file is missing, belongs to another checkpoint, or a tensor's CRC does not hold.
        """
        for group in self.state["variables"]:
            if group != TABLES:
                self.tensors(group)
        with self._reading("tables"):
            verify_rows(self._prefix, self.state["variables"].get(TABLES, []), self.state.get("table_ranges", {}))

    @contextlib.contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """Names this checkpoint where TensorFlow cannot read something of it."""
        import tensorflow as tf

        try:
            yield
        except tf.errors.OpError as error:
            raise CheckpointError(f"{self.path}: the {what} cannot be read: {error.message}") from None

    @property
    def _prefix(self) -> str:
        return posixpath.join(self._checked_folder, TENSORS)

    def restore_tables(self, tables: Sequence[Any], training: bool = True) -> None:
        """Reads the rows that this process holds of `ShardedTable`s.

        Args:
            tables: of the model.
            training: read the optimizer's state of the rows, too.

        Raises:
            CheckpointError: a table is not in the checkpoint, has another shape there, or its CRC does not hold.
        """
        entries = self.state["variables"].get(TABLES, [])
        places = {name: i for i, (name, _, _) in enumerate(entries)}
        for table in tables:
            for name, parts in table.saved if training else table.saved[:1]:
                if name not in places:
                    raise CheckpointError(
                        f"{self.path}: table '{name}' not found; it has {', '.join(places) or 'none'}"
                    )
                entry = entries[places[name]]
                if list(entry[1]) != [table.rows, table.width]:
                    raise CheckpointError(
                        f"{self.path}: table '{name}' is {entry[1]}, in this model it is {[table.rows, table.width]}"
                    )
                with self._reading("tables"):
                    for part in parts:
                        part.variable.assign(read_rows(self._prefix, places[name], entry, part.first, part.size))

    def tensors(self, group: str) -> dict[str, Any]:
        """Returns path to array of one group ("model", "optimizer", "average"), in the order they were saved.

        Raises:
            CheckpointError: a tensor is missing or its CRC does not hold.
        """
        import tensorflow as tf

        entries = self.state["variables"].get(group, [])
        keys = [tensor_key(group, i, name) for i, (name, _, _) in enumerate(entries)]
        if not keys:
            return {}
        kinds = [tf.as_dtype(kind) for _, _, kind in entries]
        with self._reading(f"{group} tensors"):
            values = tf.raw_ops.RestoreV2(
                prefix=self._prefix,
                tensor_names=keys,
                shape_and_slices=[""] * len(keys),
                dtypes=kinds,
            )
        return {f"{i}:{name}": value for i, ((name, _, _), value) in enumerate(zip(entries, values))}


def load_checkpoint(path: str) -> Checkpoint:
    """Returns a committed checkpoint; `path` is its directory, a training directory, or that of a search (its best training).

    Of a training directory it is the checkpoint that is the run's result: the best one where early stopping restores
    the best, else the newest. What is exported is then what `Trainer.fit` returned.

    Raises:
        CheckpointError: none there, not committed, damaged, or of another format version.
    """
    path = str(path)
    text = _text(posixpath.join(path, STATE))
    if text is not None:
        return _parsed(path, text)
    newest = latest_checkpoint(path)
    best_training = None if newest is not None else _text(posixpath.join(path, BEST_FILE))
    if best_training is not None:
        return load_checkpoint(posixpath.join(path, _best_trial(posixpath.join(path, BEST_FILE), best_training)))
    if newest is None:
        raise CheckpointError(f"{path}: no committed checkpoint there (no {STATE})")
    checkpoint = _parsed(newest, _text(posixpath.join(newest, STATE)) or "")
    best = checkpoint.best_step
    return checkpoint if best in (None, checkpoint.step) else load_checkpoint(checkpoint_path(path, best))


def _text(path: str) -> str | None:
    try:
        return storage.read_text(path)
    except storage.NotText as error:
        # One flipped bit of a letter: damaged, as any other, while a store that is away is not.
        raise CheckpointError(f"{error}; go on from another checkpoint") from None


def _best_trial(path: str, text: str) -> str:
    """Returns the directory, below that of the file, of a search's best trial."""
    try:
        directory = parse_json(text)["directory"]
        parts = PurePosixPath(directory).parts
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path}: does not say which trial is the best ({type(error).__name__}: {error})"
        ) from None
    # A search lies whole below its directory: what leads elsewhere, or back here, was not written by one.
    if not parts or parts[0] == "/" or ".." in parts:
        raise CheckpointError(f"{path}: names {directory!r}, which is no directory of a trial below its own")
    return str(directory)


def _parsed(path: str, text: str) -> Checkpoint:
    state_path = posixpath.join(path, STATE)
    try:
        state = parse_json(text)
    except ValueError as error:
        raise CheckpointError(f"{state_path}: not valid JSON: {error}") from None
    version = state.get("version") if isinstance(state, dict) else None
    if version not in (FORMAT_VERSION, UNSEALED_VERSION):
        raise CheckpointError(f"{state_path}: format version {version!r}, this code reads {FORMAT_VERSION}")
    damage = damage_of_state(state) if version == FORMAT_VERSION else None
    if damage is None and step_of(path) not in (None, state.get("step")):
        damage = f"it says step {state.get('step')!r}, which is not its directory's"
    if damage is not None:
        raise CheckpointError(f"{state_path}: {damage}; go on from another checkpoint")
    return Checkpoint(path=path, state=state)


def assign_group(
    checkpoint: Checkpoint, group: str, named: list[tuple[str, Any]], assign: Callable[..., Any] | None = None
) -> None:
    """Gives variables the values of a checkpoint's group, see `assign_values`.

    Raises:
        CheckpointError: number, shape or type differ: the message names the first variable that does not fit.
    """
    saved = checkpoint.state["variables"].get(group, [])
    assign_values(checkpoint, group, named, saved, list(checkpoint.tensors(group).values()), assign)


def assign_values(
    checkpoint: Checkpoint,
    group: str,
    named: list[tuple[str, Any]],
    saved: list[Any],
    values: list[Any],
    assign: Callable[..., Any] | None = None,
) -> None:
    """Gives variables these values of a checkpoint's group, where every shape and type fits, see `places_of`.

    Raises:
        CheckpointError: number, shape or type differ: the message names the first variable that does not fit.
    """
    if len(saved) != len(named):
        raise CheckpointError(
            f"{checkpoint.path}: it has {len(saved)} {group} variables, this model has {len(named)}"
            f"{_difference(group, [entry[0] for entry in saved], [name for name, _ in named])}"
        )
    places = places_of([entry[0] for entry in saved], [name for name, _ in named])
    saved, values = [saved[place] for place in places], [values[place] for place in places]
    for (name, shape, kind), (mine, variable) in zip(saved, named):
        fits = variable.shape.is_compatible_with(shape)  # one that an adapted layer of tf_keras filled has any length
        if not fits or variable.dtype.name != kind:
            raise CheckpointError(
                f"{checkpoint.path}: {group} variable '{name}' is {kind} {list(shape)}, "
                f"in this model '{mine}' is {variable.dtype.name} {list(variable.shape)}"
            )
    for (_, variable), value in zip(named, values):
        assign(variable, value) if assign is not None else variable.assign(value)


def places_of(saved: Sequence[str], mine: Sequence[str]) -> list[int]:
    """Returns for each variable here the place of its value among as many saved ones, by the names of both.

    They stand in the same order, under names that may differ by a number. The same names in another order are followed: layers of
    tf_keras have what is trained before what is frozen, and may have been frozen then and not now.
    """
    by_name = {name: place for place, name in enumerate(saved)}
    followed = len(by_name) == len(saved) and by_name.keys() == set(mine)
    return [by_name[name] for name in mine] if followed else list(range(len(saved)))


def _difference(group: str, saved: list[str], mine: list[str]) -> str:
    """Returns which names only one side has, a few of each, and how that may be."""
    missing, more = Counter(mine) - Counter(saved), Counter(saved) - Counter(mine)
    text = "".join(
        f"; {what} {', '.join(repr(name) for name in list(names)[:3])}{' and others' if len(names) > 3 else ''}"
        for what, names in (("it lacks", missing), ("only it has", more))
        if names
    )
    if group == "model" and missing and not more:
        text += (
            ": the model was changed since, or is a tf.Module with layers of Keras 3, whose weights an earlier version "
            "neither trained nor saved; train in another directory"
        )
    if group == "model" and more and not missing:
        text += (
            ": the model was changed since, or an earlier version did not save tf.Variables that are attributes of layers of Keras 3; "
            "train in another directory"
        )
    if group in ("average", "optimizer"):
        text += (
            ": what is trained or a setting of the optimizer was changed since, Nadam or a loss scale was saved in part "
            "by an earlier version, or layers of tf_keras were frozen or thawed after compile(), which an earlier version went by; "
            "train in another directory (warm_start takes the weights)"
        )
    return text
