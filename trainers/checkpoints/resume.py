"""Where a run resumes: the one checkpoint on which all its workers agree, and whether it belongs here."""

from __future__ import annotations

import functools
import platform
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from engine.core.run_log import tell
from trainers.checkpoints import checkpoint as files
from trainers.checkpoints.directory import checkpoint_path, checkpoint_steps, root
from trainers.checkpoints.saver import Saver
from trainers.checkpoints.settings_change import changed_code, refused_change, tuned_changes
from trainers.checkpoints.table_parts import TableParts, write_part
from trainers.config.config import TrainerConfig
from trainers.strategies import Placement

if TYPE_CHECKING:
    from engine.feed.protocols import TrainingData

__all__ = [
    "agreed_checkpoint",
    "agreed_step",
    "all_committed",
    "newest_whole_step",
    "origin",
    "schema_text",
    "set_random_state",
    "shared_parts",
]


def agreed_checkpoint(
    config: TrainerConfig, placement: Placement, schema: Mapping[str, str], code: Mapping[str, str]
) -> files.Checkpoint | None:
    """Returns the checkpoint from which all workers go on, None where there is none.

    Args:
        config: settings of the run.
        placement: this worker among the others; all call this together.
        schema: `schema_text` of the training data.
        code: digest of each function of the user's, see `Trainer`.

    Raises:
        CheckpointError: it belongs to other data, or to settings that mean something else.
    """
    step = agreed_step(config.directory, placement, newest=newest_whole_step)
    if step is None:
        return None
    saved = files.load_checkpoint(checkpoint_path(config.directory, step))
    for name in sorted(set(schema) | set(saved.state["schema"])):
        if schema.get(name) != saved.state["schema"].get(name):
            raise files.CheckpointError(
                f"{saved.path} belongs to other data: field '{name}' is {saved.state['schema'].get(name)} there, "
                f"{schema.get(name)} here; train in another directory, or use warm_start"
            )
    change = refused_change(saved.state["config"], config)
    if change is not None:
        raise files.CheckpointError(
            f"{saved.path} was trained with {change}: keep it, or train in another directory (warm_start takes the weights)"
        )
    changes = tuned_changes(saved.state["config"], config)
    there = saved.state.get("strategy", {})
    if there.get("name", placement.name) != placement.name:
        changes.append(f"strategy {placement.name} (was {there['name']})")
    if there.get("replicas", placement.num_replicas) != placement.num_replicas:
        changes.append(f"{placement.num_replicas} replicas (was {there['replicas']})")
    versions = saved.state.get("versions", {})
    changes += [f"{k} {v} (was {versions[k]})" for k, v in _versions().items() if versions.get(k, v) != v]
    # A release of Python may write the same code in other words.
    if versions.get("python") == _versions()["python"]:
        changes += changed_code(saved.state.get("code", {}), code)
    if changes and placement.is_chief:
        tell(f"goes on from step {step} with {', '.join(changes)}")
    return saved


def newest_whole_step(directory: str) -> int | None:
    """Returns the step of the newest checkpoint whose state and tensors are whole, None where there is no checkpoint.

    A damaged one is said, and the one before it is taken: what it had done more is done again.

    Raises:
        CheckpointError: there are checkpoints, and all of them are damaged.
    """
    faults = []
    for step in reversed(checkpoint_steps(directory)):
        try:
            files.load_checkpoint(checkpoint_path(directory, step)).verify()
        except files.CheckpointError as error:
            tell(f"DAMAGED CHECKPOINT: {error}")
            faults.append(str(error))
            continue
        if faults:
            tell(f"goes on from step {step}, the last whole checkpoint")
        return step
    if faults:
        raise files.CheckpointError(
            f"{directory}: no checkpoint there is whole; the newest: {faults[0]}; delete them to begin anew"
        )
    return None


def newest_step(directory: str) -> int | None:
    """Returns the step of the newest commit, None where there is none."""
    steps = checkpoint_steps(directory)
    return steps[-1] if steps else None


def agreed_step(directory: str, placement: Placement, newest: Callable[[str], int | None] = newest_step) -> int | None:
    """Returns the step of the checkpoint that the chief sees, None for none. A barrier: all workers call it together.

    Raises:
        CheckpointError: there are checkpoints, and none of them is whole; on every worker.
    """
    mine: int | None = None
    failed: BaseException | None = None
    if placement.is_chief:
        try:
            mine = newest(directory)
        except files.CheckpointError as error:
            failed = error
    if placement.num_hosts == 1:
        if failed is not None:
            raise failed
        return mine
    # The chief says from where: what a worker sees of a shared directory may be older or newer by a moment.
    said = float(-2 if failed is not None else -1 if mine is None else mine)
    strategy = placement.strategy
    agreed = int(strategy.experimental_local_results(_of_first(strategy)(tf.constant(said, tf.float64)))[0].numpy())
    if failed is not None:
        raise failed
    if agreed == -2:
        raise files.CheckpointError(f"{directory}: the chief found no checkpoint that is whole, see its log")
    return agreed if agreed >= 0 else None


@functools.lru_cache(maxsize=1)  # traced once a run, not once a meeting
def _of_first(strategy: Any) -> Any:
    """Returns the function that gives every worker the number of the first one."""

    def replica(value: Any) -> Any:
        first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.where(first, value, 0.0))

    return tf.function(lambda value: strategy.run(replica, args=(value,)), autograph=False)


def schema_text(data: TrainingData) -> dict[str, str]:
    """Returns field name to type of a data set, as a checkpoint notes it."""
    return {field.name: f"{field.type}{'' if field.nullable else ' not null'}" for field in data.schema}


def origin(
    config: TrainerConfig, placement: Placement, schema: Mapping[str, str], code: Mapping[str, str]
) -> dict[str, Any]:
    """Returns what a checkpoint notes of the run that saves it: what `agreed_checkpoint` compares, and the random state."""
    return {
        "schema": dict(schema),
        "code": dict(code),
        "random": _random_state(),
        "config": config.as_json(),
        "strategy": {"name": placement.name, "hosts": placement.num_hosts, "replicas": placement.num_replicas},
        "versions": _versions(),
        "saved_at": time.time(),
    }


def _versions() -> dict[str, str]:
    python = ".".join(platform.python_version_tuple()[:2])
    return {"tensorflow": tf.__version__, "keras": keras.__version__, "python": python}


def _random_state() -> dict[str, Any]:
    """Returns the states of Python's and numpy's generators as JSON values."""
    name, keys, position, has_gauss, gauss = np.random.get_state()  # type: ignore[misc]
    version, internal, spare = random.getstate()
    return {
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, gauss],
        "python": [version, list(internal), spare],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Sets Python's and numpy's generators to the random state of an `origin`."""
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), position, has_gauss, gauss))
    version, internal, spare = state["python"]
    random.setstate((version, tuple(internal), spare))


def all_committed(directory: str, placement: Placement, step: int) -> None:
    """Returns on every worker once the chief's last commit, of this step, is there: before any worker says that it is done."""
    if placement.num_hosts == 1:
        return
    try:
        agreed_step(directory, placement)
    except tf.errors.OpError:
        # A worker that is through and gone closes its connections on one that still reads. The commit is what counts.
        if step not in checkpoint_steps(directory):
            raise


def shared_parts(
    tables: Sequence[Any], placement: Placement, directory: str, step: int, saver: Saver
) -> TableParts | None:
    """Writes the rows of tables that this worker holds, where there are tables; all workers call it at the same step."""
    if not tables:
        return None
    saver.wait()
    if placement.num_hosts > 1:
        agreed_step(directory, placement)  # a save of this step may have been under way on the chief
    parts = write_part(root(directory), step, tables, placement.host, placement.num_hosts)
    if placement.num_hosts > 1:
        agreed_step(directory, placement)  # all rows are there before the chief commits them
    if not placement.is_chief:
        saver.restored(step, checkpoint_path(directory, step))
    return parts
