"""From where a training goes on: the one checkpoint on which all its workers agree, and whether it belongs here."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from trainers.checkpoints import checkpoint as files
from trainers.config.config import TrainerConfig
from trainers.strategies import Placement

__all__ = ["agreed_checkpoint", "agreed_step", "random_state", "schema_text", "set_random_state"]


def agreed_checkpoint(
    config: TrainerConfig, placement: Placement, schema: Mapping[str, str]
) -> files.Checkpoint | None:
    """Returns the checkpoint from which all workers go on, None where there is none.

    Args:
        config: settings of the run.
        placement: this worker among the others; all call this together.
        schema: `schema_text` of the training data.

    Raises:
        CheckpointError: it belongs to other data or to another global batch size.
    """
    step = agreed_step(config.directory, placement)
    if step is None:
        return None
    saved = files.load_checkpoint(files.checkpoint_path(config.directory, step))
    for name in sorted(set(schema) | set(saved.state["schema"])):
        if schema.get(name) != saved.state["schema"].get(name):
            raise files.CheckpointError(
                f"{saved.path} belongs to other data: field '{name}' is {saved.state['schema'].get(name)} there, "
                f"{schema.get(name)} here; train in another directory, or use warm_start"
            )
    batch = saved.state["config"]["global_batch_size"]
    if batch != config.global_batch_size:
        raise files.CheckpointError(
            f"{saved.path} was trained with global_batch_size={batch}, now it is {config.global_batch_size}: "
            "keep it, or train in another directory"
        )
    return saved


def agreed_step(directory: str, placement: Placement) -> int | None:
    """Returns the step of the last commit that the chief sees, None for none. A barrier: all workers call it together."""
    steps = files.checkpoint_steps(directory)
    mine = steps[-1] if steps else -1
    if placement.num_hosts == 1:
        return mine if mine >= 0 else None
    # The chief says from where: what a worker sees of a shared directory may be older or newer by a moment.
    said = float(mine) if placement.is_chief else 0.0
    strategy = placement.strategy

    def replica(value):
        first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.where(first, value, 0.0))

    agree = tf.function(lambda v: strategy.run(replica, args=(v,)), autograph=False)
    agreed = int(strategy.experimental_local_results(agree(tf.constant(said, tf.float64)))[0].numpy())
    return agreed if agreed >= 0 else None


def schema_text(data: Any) -> dict[str, str]:
    """Returns field name to type of a data set, as a checkpoint notes it."""
    return {field.name: f"{field.type}{'' if field.nullable else ' not null'}" for field in data.schema}


def random_state() -> dict[str, Any]:
    """Returns the states of Python's and numpy's generators as JSON values."""
    name, keys, position, has_gauss, gauss = np.random.get_state()  # type: ignore[misc]
    version, internal, spare = random.getstate()
    return {
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, gauss],
        "python": [version, list(internal), spare],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Sets Python's and numpy's generators to a `random_state`."""
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), position, has_gauss, gauss))
    version, internal, spare = state["python"]
    random.setstate((version, tuple(internal), spare))
