"""Whether the settings and the model that was built can go together, said before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.core.errors import ConfigError
from engine.storage.tree import is_local
from trainers.config.config import TrainerConfig
from trainers.models.adapters import ModelAdapter
from trainers.strategies import Placement
from trainers.tables.table import ShardedTable

__all__ = ["check_model"]


def check_model(
    config: TrainerConfig, placement: Placement, adapter: ModelAdapter, tables: Sequence[ShardedTable] = ()
) -> list[str]:
    """Returns what a person should know of how this model is trained with these settings.

    Raises:
        ConfigError: a setting that this model or strategy cannot have.
    """
    _check_metric(config, adapter)
    if tables:
        _check_tables(config, placement, adapter, tables[0].table_name)
    name = type(adapter.model).__name__
    if placement.coordinator is not None and config.on_nan == "skip":
        raise ConfigError("on_nan='skip' needs steps in order, which parameter_server has not; use 'stop' or 'go_on'")
    if adapter.own_train_step:
        for setting, off in (("accumulate_steps", 1), ("xla", False)):
            value = getattr(config, setting)
            if value != off:
                raise ConfigError(
                    f"{setting}={value!r}: {name} has a train_step of its own, which is run as it is written; "
                    f"leave {setting} out, or do it in train_step"
                )
    cut = config.accumulate_steps > 1 or placement.num_replicas > 1
    if adapter.reduction == "mixed" and cut and not adapter.own_train_step:
        raise ConfigError(
            f"the losses of {name} differ in their reduction (mean, sum, mean_with_sample_weight): a batch that is cut over "
            "replicas or accumulate_steps then has no loss of its own; give all of them the same reduction"
        )
    notes = [
        *_notes_on_steps(adapter, name),
        *_notes_on_slices(config, adapter.model),
        *_notes_on_metrics(placement, adapter),
    ]
    if adapter.order_of_labels:
        pairs = ", ".join(f"{label!r} with {output!r}" for label, output in adapter.order_of_labels.items())
        notes.append(f"no output of {name} has the name of a label: they go together in their order, {pairs}")
    if not adapter.trainable and not tables:
        notes.append(
            f"{name} has no weights to train: steps change nothing but the statistics that its forward pass keeps"
        )
    if cut and adapter.losses_of_whole_batches:
        notes.append(
            f"loss {adapter.losses_of_whole_batches[0]!r} makes one number of all examples: each replica and slice has its "
            "own, and their mean is taken, which is that of the batch only where the loss is a mean over the examples"
        )
    return notes


def _check_tables(config: TrainerConfig, placement: Placement, adapter: ModelAdapter, table: str) -> None:
    """Raises a ConfigError for what a table that is divided over workers or servers does not go with."""
    several = placement.num_hosts > 1
    faults = {
        f"strategy={placement.name!r}: use one_device, multi_worker_mirrored or parameter_server": placement.jit_required,
        f"{placement.replicas_per_host} devices a worker: start one worker for each device": placement.replicas_per_host
        > 1,
        "a train_step of the model's own: leave it to the loop": adapter.own_train_step,
        "xla=True: workers and servers exchange rows inside the forward pass; leave it out": config.xla,
        f"ema_decay={config.ema_decay}: it would change every row at each step; leave it out": config.ema_decay
        is not None,
        "on_nan='skip': it copies all variables at each step; use 'stop' or 'go_on'": config.on_nan == "skip",
        "checkpoint.every_s: all workers write their rows at the same step; use every_steps": several
        and config.checkpoint.every_s is not None,
        f"directory={config.directory}: several workers need a file system that they share": several
        and not is_local(config.directory),
        f"warm_start={config.warm_start}: only a training or checkpoint directory has tables": config.warm_start
        is not None
        and config.warm_start.endswith((".keras", ".h5")),
    }
    for fault, there in faults.items():
        if there:
            raise ConfigError(f"sharded table {table!r} does not go with {fault}")


def _check_metric(config: TrainerConfig, adapter: ModelAdapter) -> None:
    stopping = config.early_stopping
    if stopping is None:
        return
    zeros = [np.zeros(v.shape, v.dtype.as_numpy_dtype) for v in adapter.metric_variables]
    known = list(dict.fromkeys(["loss", *adapter.metric_results(zeros)]))
    if stopping.metric not in known:
        raise ConfigError(f"early_stopping.metric {stopping.metric!r} not found; the evaluation has {', '.join(known)}")


def _notes_on_steps(adapter: ModelAdapter, name: str) -> list[str]:
    own = [step for step in ("train_step", "test_step") if getattr(adapter, f"own_{step}")]
    return [f"{' and '.join(own)} of {name} are the model's own and are called as they are written"] if own else []


def _notes_on_slices(config: TrainerConfig, model: Any) -> list[str]:
    if config.accumulate_steps == 1:
        return []
    found = [p.name for p in _parts(model) if type(p).__name__ == "BatchNormalization" and p.trainable]
    if not found:
        return []
    parts = config.accumulate_steps
    return [
        f"accumulate_steps={parts}: {found[0]}{' and others normalise' if len(found) > 1 else ' normalises'} each slice by "
        f"its own mean and variance, and moves its averages {parts} times a step: the update is not that of the whole batch"
    ]


def _notes_on_metrics(placement: Placement, adapter: ModelAdapter) -> list[str]:
    if placement.num_replicas == 1:
        return []
    return [
        f"metric {name!r} does not begin at 0: {placement.num_replicas} replicas count from there, and their states are added up (as "
        "Keras does it), which is not what one replica counts"
        for name in adapter.metrics_from_elsewhere(placement.strategy.experimental_local_results)
    ]


def _parts(model: Any) -> list[Any]:
    """Returns the layers of a model at any depth."""
    layers = list(getattr(model, "layers", []))
    return [part for layer in layers for part in (layer, *_parts(layer))]
