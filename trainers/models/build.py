"""The model of a training run in the scope of its strategy, with everything that a checkpoint holds of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.core.errors import ConfigError
from engine.core.run_log import tell
from trainers.checkpoints.checkpoint import Checkpoint, assign_group
from trainers.checkpoints.optimizer_state import restore_optimizer
from trainers.config.config import LearningRate, TrainerConfig
from trainers.config.learning_rate import schedule_function
from trainers.data.targets import split_example
from trainers.models.adapters import ModelAdapter, adapt
from trainers.models.context import ModelContext
from trainers.models.ema import OptimizerAverages, WeightAverages
from trainers.models.inputs import asked_features
from trainers.models.padding import mask_name
from trainers.models.precision import precision_policy, unused_policy
from trainers.models.variables import carried_on, take_compiled_state
from trainers.strategies import Placement
from trainers.tables.place import TablePlace, table_place
from trainers.tables.table import ShardedTable, tables_of

__all__ = ["BuiltModel", "build"]


@dataclass(frozen=True, kw_only=True)
class BuiltModel:
    """A model whose variables are all there.

    Args:
        adapter: the model, its loss, optimizer and metrics.
        averages: moving averages of the weights, or None.
        placement: where the replicas are.
        tables: embedding tables whose rows are divided over the workers.
    """

    adapter: ModelAdapter
    averages: WeightAverages | None
    placement: Placement
    tables: Sequence[ShardedTable] = ()

    def groups(self, saved: Mapping[str, Any] | None = None) -> dict[str, list[tuple[str, Any]]]:
        """Returns group name to (path, variable) of everything that a checkpoint holds.

        Args:
            saved: groups of a checkpoint to restore. Where it has no averages of their own, those that an optimizer keeps are
                among its variables alone; one of an earlier version has no variables of losses.
        """
        groups = self.adapter.named_variables
        if saved is not None and "loss" not in saved:
            groups.pop("loss", None)
        of_optimizer = isinstance(self.averages, OptimizerAverages)
        if self.averages is not None and not (of_optimizer and saved is not None and not saved.get("average")):
            groups["average"] = [(v.name, a) for v, a in zip(self.adapter.trainable, self.averages.averages)]
        return groups

    @property
    def trained_names(self) -> set[str]:
        """Paths of the weights that the optimizer changes."""
        trained = {id(v) for v in self.adapter.trainable}
        return {name for name, v in self.adapter.named_variables["model"] if id(v) in trained}

    def tensors(self) -> dict[str, list[tuple[str, Any]]]:
        """Returns the values of `groups` as they are now, on this host."""
        return {group: [(name, self._here(v)) for name, v in named] for group, named in self.groups().items()}

    def assign(self, variable: Any, value: Any) -> None:
        """Puts a value into a variable on all replicas of this host."""
        for part in self.placement.strategy.experimental_local_results(variable):
            part.assign(value)

    def take_weights(self, saved: Checkpoint, optimizer: Mapping[str, Any]) -> None:
        """Gives the model the weights of a checkpoint of its run, and their averages: the model that was judged had these.

        Args:
            saved: the checkpoint; one of an earlier version has averages that an optimizer keeps among its variables alone.
            optimizer: `describe_optimizer` of the one of this run.
        """
        groups = self.groups(saved.state["variables"])
        assign_group(saved, "model", groups["model"], self.assign)
        if "average" in groups:
            assign_group(saved, "average", groups["average"], self.assign)
        elif self.averages is not None:
            restore_optimizer(saved, groups["optimizer"], optimizer, self.assign)
        saved.restore_tables(self.tables)

    @contextlib.contextmanager
    def carrying_on(self) -> Iterator[None]:
        """Within it calls of the model leave what no optimizer changes as it was: states, seeds, counts."""
        local = self.placement.strategy.experimental_local_results
        parts = [part for variable in carried_on(self.adapter.model) for part in local(variable)]
        before = [part.read_value() for part in parts]  # a copy of those alone that are changed meanwhile
        try:
            yield
        finally:
            for part, value in zip(parts, before, strict=True):
                part.assign(value)

    def take_averages(self) -> None:
        """Makes the weights equal to their averages, where there are any."""
        if self.averages is not None:
            for average, variable in zip(self.averages.averages, self.adapter.trainable):
                self.assign(variable, self._here(average))

    def _here(self, variable: Any) -> Any:
        return self.placement.strategy.experimental_local_results(variable)[0].read_value()


def build(
    config: TrainerConfig,
    placement: Placement,
    build_model: Callable[[ModelContext], Any],
    context: ModelContext,
    example: Callable[[list[str]], Mapping[str, Any]],
) -> BuiltModel:
    """Returns the model of `build_model`, its variables made.

    Args:
        config: settings.
        placement: where the replicas are.
        build_model: see `Trainer`.
        context: what it is called with.
        example: is given the names of the features that the model takes, and returns a batch of zeros of the right shapes
            with these, labels and weight.
    """
    servers = placement.coordinator is not None
    place = TablePlace(index=placement.host, count=placement.num_hosts, on_servers=servers, seed=config.seed)
    policy_note = unused_policy(config.precision)
    # Layers that a layer makes in its `build` are made when the variables are.
    with placement.strategy.scope(), table_place(place), precision_policy(config.precision):
        model = build_model(context)
        changed = take_compiled_state(model)
        adapter = adapt(model)
        if isinstance(config.learning_rate, LearningRate):  # a number became one
            adapter.set_learning_rate(schedule_function(config.learning_rate, context.steps or 0))
        taken = asked_features(adapter.model, [*context.feature_spec, *map(mask_name, config.pad)])
        read = [n for n in context.feature_spec if taken is None or n in taken or mask_name(n) in taken]
        parts = split_example(example(read), config)
        adapter.prepare(*parts)
    if policy_note and placement.is_chief:
        tell(policy_note)
    if changed and placement.is_chief:
        tell(
            f"layer {changed[0]!r}{' and others were' if len(changed) > 1 else ' was'} frozen or thawed after compile(): tf_keras "
            "trains what was trainable then; call compile() again after changing `trainable`"
        )
    if placement.num_replicas > 1:
        note = adapter.fit_scaling(placement.strategy, *parts)
        if note and placement.is_chief:
            tell(note)
    tables = tables_of(adapter.model)
    for table in tables:
        table.prepare_training()
    # TensorFlow holds a collective operation to the shape that it had first.
    adapter.keeps_rows = bool(tables) and place.count > 1 and not place.on_servers
    averages = _averages(config, placement, adapter)
    return BuiltModel(adapter=adapter, averages=averages, placement=placement, tables=tables)


def _averages(config: TrainerConfig, placement: Placement, adapter: ModelAdapter) -> WeightAverages | None:
    kept = adapter.averages
    if kept is None:
        if config.ema_decay is None:
            return None
        return WeightAverages(placement.strategy, adapter.trainable, config.ema_decay)
    if config.ema_decay is not None:
        raise ConfigError(f"ema_decay={config.ema_decay}: the optimizer has use_ema=True; use one of them")
    if len(kept) != len(adapter.trainable):
        raise ConfigError(
            f"the optimizer's use_ema=True covers {len(kept)} of the model's {len(adapter.trainable)} weights; use ema_decay"
        )
    return OptimizerAverages(placement.strategy, adapter.trainable, kept)
