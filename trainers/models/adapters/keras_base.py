"""What models of Keras 3 and of tf_keras have in common: losses and steps of their own, penalties, evaluation."""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from engine.core.errors import ConfigError
from trainers.compat.keras import has_fixed_rows, mask_of
from trainers.data.targets import rows_where
from trainers.models.adapters.base import ModelAdapter
from trainers.models.adapters.loss_reduction import (
    is_divided_by_replicas,
    is_keras_own,
    leaves_steps_out,
    losses_of_whole_batches,
    reduction_of,
)
from trainers.models.adapters.own_steps import OwnSteps, overrides
from trainers.models.adapters.predictions import (
    in_order_of_outputs,
    may_have_columns_of_rows,
    number_of_rows,
    rows_and_masks,
    size_of_mask,
)
from trainers.models.inputs import model_inputs
from trainers.models.variables import held_by_losses, named_variables

__all__ = ["KerasAdapter", "flat_result", "is_reported"]

# What cannot be added up over slices and replicas by what is left: the means of ...
_SEVERAL = "the model's output is masked, and several losses"
_OF_THE_LOSS = "a loss leaves steps out itself (ignore_class, CircleLoss), and its means"


class KerasAdapter(ModelAdapter):
    """A compiled model.

    Args:
        model: of `library.Model`.
        library: keras or tf_keras.
    """

    _steps: OwnSteps  # of a model with a train_step of its own, once it is prepared
    _metrics: list[Any]  # once it is prepared

    def __init__(self, model: Any, library: Any) -> None:
        self.model, self._library = model, library
        self.own_train_step = overrides(model, library.Model, "train_step")
        self.own_test_step = overrides(model, library.Model, "test_step")
        self._own_loss = overrides(model, library.Model, "compute_loss")
        self.evaluates_itself = self.own_test_step or self._returns_results_of_its_own()
        self._metrics_of_layers = False  # some metrics are updated by the forward pass, once it is prepared
        self._num_losses = 0  # that are compiled, once it is prepared
        self._means_of_outputs = False  # Keras keeps a mean of the loss of each, once it is prepared
        self._row_by_row = True  # the compiled losses are known to look at no other row, once it is prepared
        self._leaves_out = False  # some of them leave steps out by what the labels are, once it is prepared
        self._masked: bool | None = None  # whether predictions carry a mask, once a step was traced
        self._of_steps = False  # a row has a loss for each of its steps or pixels, which takes no weight a row, once a step was traced
        self._of_pairs = False  # an output may have a column for each row of the batch, once a step was traced
        self._evaluates = False  # a step of an evaluation is being traced
        self._divides = False  # by the number of replicas, since the user's own loss does not

    @abc.abstractmethod
    def _forward(self, inputs: Any, training: bool) -> Any:
        """Returns the predictions."""

    @abc.abstractmethod
    def _model_loss(self, inputs: Any, labels: Any, predictions: Any, weights: Any, training: bool) -> Any:
        """Returns what the model's own `compute_loss` says."""

    @abc.abstractmethod
    def _outputs_with_loss(self, predictions: Any) -> list[Any]:
        """Returns the predictions that a compiled loss looks at; all of them where that cannot be known."""

    @abc.abstractmethod
    def _has_losses_of_rows(self) -> bool:
        """Whether layers add losses that depend on the rows: activity regularizers, `add_loss`. Known once a step was traced."""

    @abc.abstractmethod
    def _update_metrics(self, inputs: Any, labels: Any, predictions: Any, weights: Any) -> None:
        """Takes a batch into the compiled metrics."""

    def _returns_results_of_its_own(self) -> bool:
        """Whether test_step returns more than its metrics. Replicas cannot tell: what a model makes of its metrics is of one of them."""
        strategy = tf.distribute.get_strategy()
        servers = isinstance(strategy, tf.distribute.experimental.ParameterServerStrategy)
        if strategy.num_replicas_in_sync > 1 or servers or (self._own_loss and self._library.__name__ == "tf_keras"):
            return False  # test_step of tf_keras returns no loss but that of compiled losses
        return any(
            overrides(self.model, self._library.Model, name) for name in ("compute_metrics", "get_metrics_result")
        )

    def _variables_of_losses(self) -> dict[str, list[tuple[str, Any]]]:
        """Returns the group "loss" of `named_variables`: what compiled losses keep beside the model; none where they keep nothing."""
        of_model = {id(v) for _, v in named_variables(self.model)}
        held = [(name, v) for name, v in held_by_losses(self.model) if id(v) not in of_model]
        return {"loss": held} if held else {}

    def set_learning_rate(self, schedule: Any) -> None:
        base: Any = self._library.optimizers.schedules.LearningRateSchedule

        class Schedule(base):
            def __call__(self, step: Any) -> Any:
                return schedule(tf.cast(step, tf.float32))

            def get_config(self) -> dict[str, Any]:
                return {}

        self._stepper.inner.learning_rate = Schedule()

    def loss(self, features: Any, labels: Any, weights: Any, update_metrics: bool) -> Any:
        inputs = model_inputs(self.model, features)
        predictions = self._forward(inputs, True)
        self._look_at_masks(predictions, weights)
        labels = self._beside(labels, predictions)
        loss = self._model_loss(inputs, labels, predictions, weights, True)
        if update_metrics:
            self._update_metrics(inputs, labels, predictions, weights)
        return loss / _replicas() if self._divides else loss

    def _beside(self, labels: Any, predictions: Any) -> Any:
        """Returns the labels as compiled losses take them: those of several outputs that have none of their names in their order."""
        names = getattr(self.model, "output_names", None) or ()
        own = self._own_loss or overrides(self.model, self._library.Model, "compute_metrics")
        if own or not isinstance(labels, Mapping) or not labels.keys().isdisjoint(names):
            return labels
        listed = in_order_of_outputs(labels, predictions)
        self.order_of_labels = dict(zip(labels, names)) if listed is not labels else {}
        return listed

    def _look_at_masks(self, predictions: Any, weights: Any) -> None:
        """Notes by what a masked mean is divided: not by the number of examples, on which everything else relies."""
        outputs = self._outputs_with_loss(predictions)
        masks = [mask for mask in map(mask_of, outputs) if mask is not None]
        self._masked = bool(masks) or self._leaves_out
        # Keras 3 multiplies the losses [b, steps] of an output [b, steps, values] with no weights [b].
        self._of_steps = self._library.__name__ == "keras" and any((each.shape.rank or 0) > 2 for each in outputs)
        self._of_pairs = any(map(may_have_columns_of_rows, outputs))
        self.size_of_mean = None
        if not self._masked or not self._num_losses or self._own_loss:
            return
        if self.reduction in ("mean", "weighted_mean") and self._leaves_out:
            self.size_of_mean = _OF_THE_LOSS
        elif self.reduction in ("mean", "weighted_mean"):
            divisor = weights if self.reduction == "weighted_mean" else None
            self.size_of_mean = size_of_mask(masks[0], divisor) if len(outputs) == 1 else _SEVERAL

    def penalty(self) -> Any:
        return self._penalty() / _replicas()

    def _penalty(self) -> Any:
        losses = [] if self._own_loss else self.model.losses
        return tf.add_n([tf.cast(p, tf.float32) for p in losses]) if losses else tf.constant(0.0)

    def fit_scaling(self, strategy: Any, features: Any, labels: Any, weights: Any) -> str | None:
        if not self._own_loss:
            return None
        inputs = model_inputs(self.model, features)
        owner = type(self.model).__name__

        def loss() -> Any:
            return self._model_loss(inputs, labels, self._forward(inputs, False), weights, False)

        if is_divided_by_replicas(strategy, loss, owner):
            return None
        if self.own_train_step:
            raise ConfigError(
                f"compute_loss of {owner} returns a mean that train_step does not divide by the "
                f"{strategy.num_replicas_in_sync} replicas: divide it by tf.distribute.get_strategy().num_replicas_in_sync"
            )
        self._divides = True
        return f"compute_loss of {owner} is the mean of a replica's examples: it is divided by the number of replicas"

    def apply(self, gradients: Sequence[Any]) -> None:
        self._stepper.apply(gradients, self.model.trainable_variables)

    def train_step(self, features: Any, labels: Any, weights: Any, reduce: Callable[[list[Any]], list[Any]]) -> Any:
        data = self._packed(model_inputs(self.model, features), labels, weights)
        return self._steps.train(data, reduce) / _replicas()

    def evaluate(
        self, features: Any, labels: Any, weights: Any, mask: Any, weighted: bool = True
    ) -> tuple[Any, Any, Any]:
        self._evaluates = True
        try:
            return self._evaluate(features, labels, weights, mask, weighted)
        finally:
            self._evaluates = False

    def _evaluate(self, features: Any, labels: Any, weights: Any, mask: Any, weighted: bool) -> tuple[Any, Any, Any]:
        padding = None  # of which the model makes predictions, and nothing else sees them
        if not self._takes_padding(features):
            if mask is not None and self._computes_with_padding(features):
                padding, (labels, weights) = mask, rows_where(mask, (labels, weights))
            else:
                features, labels, weights = rows_where(mask, (features, labels, weights))
            mask = None
            if not weighted:
                weights = None  # as in training: Keras cannot put a weight a row and a mask a step together
        elif mask is not None and not self._keeps_size():
            # Some layer may look at all rows (a mean over the batch). Where a replica has padding alone, that weighs nothing.
            seen = mask | ~tf.reduce_any(mask)
            features, labels, weights, mask = rows_where(seen, (features, labels, weights, mask))
        inputs = model_inputs(self.model, features)
        if self.evaluates_itself:
            logs = self.model.test_step(self._packed(inputs, labels, weights))
            self.logs = logs if isinstance(logs, dict) else {}
            return OwnSteps.loss_of(logs), number_of_rows(inputs), tf.constant(0.0)
        before = [tf.identity(v) for v in self._counting_variables()]
        predictions = self._forward(inputs, False)
        if padding is not None:
            inputs, predictions = rows_where(padding, inputs), rows_and_masks(padding, predictions)
        self._look_at_masks(predictions, weights)
        labels = self._beside(labels, predictions)
        loss = tf.cast(self._model_loss(inputs, labels, predictions, weights, False), tf.float32)
        penalty, size = self._penalty(), number_of_rows(predictions)
        # Keras divides means and penalties by the number of replicas, sums not.
        loss = (loss - penalty / _replicas()) * (1.0 if self._divides or self.reduction == "sum" else _replicas())
        labels, predictions, weights = rows_where(mask, (labels, predictions, weights))
        self._update_metrics(inputs, labels, predictions, weights)
        for variable, value in zip(self._counting_variables(), before):
            variable.assign(tf.where(number_of_rows(predictions) > 0, variable, value))
        return loss, size, penalty

    def _note_updates(self) -> None:
        """Notes which metrics a test_step or compute_metrics of the model's own updates: those that it does not are no results of 0."""
        if not (self.evaluates_itself or overrides(self.model, self._library.Model, "compute_metrics")):
            return
        updated: set[int] = set()
        trained: set[int] = set()
        self.updated, self.updated_in_training = updated, trained

        def noting(metric: Any, update: Callable[..., Any]) -> Callable[..., Any]:
            def noted(*args: Any, **options: Any) -> Any:
                (updated if self._evaluates else trained).add(id(metric))
                return update(*args, **options)

            noted.update = update  # type: ignore[attr-defined]  # where another run has the same model
            return noted

        for metric in self._metrics:
            update = getattr(metric.update_state, "update", metric.update_state)
            object.__setattr__(metric, "update_state", noting(metric, update))

    def _counting_variables(self) -> list[Any]:
        """Those of the metrics that are set back after a batch without rows: Keras counts the loss of each output there as one of 0,
        and a layer that counts a mean itself counts no number.

        None where workers share them: what others counted meanwhile would be lost.
        """
        shared = isinstance(tf.distribute.get_strategy(), tf.distribute.experimental.ParameterServerStrategy)
        counting = self._means_of_outputs or self._metrics_of_layers
        return self.metric_variables if counting and not shared else []

    def _takes_padding(self, features: Any) -> bool:
        """Whether rows of padding change nothing of the loss, since it is a mean over the examples in which they weigh 0.

        With several outputs Keras keeps a mean of each loss over the rows that it was shown, whatever they weigh. A metric that a
        layer updates knows no weights, and a loss that is not Keras's own may compare rows with each other (negatives of the batch).
        """
        if self._own_loss or self.own_train_step or self.evaluates_itself or self.reduction != "mean":
            return False
        if self._means_of_outputs or self._metrics_of_layers or not self._row_by_row:
            return False
        self._know_outputs(features)
        return not (self._masked or self._of_steps or self._of_pairs or self._has_losses_of_rows())

    def _computes_with_padding(self, features: Any) -> bool:
        """Whether rows of padding go through a model that keeps its number of rows, and change only what is predicted of them."""
        if not self._keeps_size() or self.own_train_step or self.evaluates_itself or self._metrics_of_layers:
            return False
        self._know_outputs(features)
        return not (self._of_pairs or self._has_losses_of_rows())

    def _know_outputs(self, features: Any) -> None:
        if self._masked is None:  # a run that goes on at its end evaluates without a step
            self._look_at_masks(self._forward(model_inputs(self.model, features), False), None)

    def _keeps_size(self) -> bool:
        """Whether batches have to keep their number of rows: on TPUs, whose programs are compiled, and as a model or its tables say."""
        on_tpu = isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)
        return on_tpu or self.keeps_rows or has_fixed_rows(self.model)

    def _look_at_losses(self, losses: Sequence[Any], batch: tuple[Any, Any, Any], means_of_outputs: bool) -> list[Any]:
        """Notes how the compiled losses make one number of a batch; returns those whose function does it itself.

        `means_of_outputs`: Keras keeps a mean of the loss of each output.
        """
        self.reduction = "mean" if self._own_loss else reduction_of(losses)
        self._num_losses = len(losses)
        self._leaves_out = any(map(leaves_steps_out, losses))
        self._means_of_outputs = means_of_outputs
        written = [loss for loss in losses if not is_keras_own(loss)]
        self._row_by_row = not written
        if self._own_loss or self.own_train_step:
            return []

        def loss() -> None:
            inputs, labels, weights = batch
            predictions = self._forward(inputs, False)
            self._model_loss(inputs, self._beside(labels, predictions), predictions, weights, False)

        # The loss of tf_keras counts in its metrics, which on several replicas only a replica can.
        whole = losses_of_whole_batches(written, loss, in_replicas=self._library.__name__ != "keras")
        self.losses_of_whole_batches = [str(each.name) for each in whole]
        return whole

    def metrics_from_elsewhere(self, local: Callable[[Any], Sequence[Any]]) -> list[str]:
        owners = [name for metric in self._metrics for name in _owners(metric)]
        states = zip(owners, self.metric_aggregations, self.metric_variables, strict=True)
        found = [name for name, kind, v in states if kind == "sum" and np.any(local(v)[0].numpy())]
        return list(dict.fromkeys(found))

    def reset_metrics(self) -> None:
        for metric in self._metrics:
            metric.reset_state()

    def _packed(self, inputs: Any, labels: Any, weights: Any) -> Any:
        return self._library.utils.pack_x_y_sample_weight(inputs, labels, weights)


def _owners(metric: Any) -> list[str]:
    """Returns the name of the metric for each of its variables; Keras 3 has one metric that is made of all compiled ones."""
    inner = [each.name for each in getattr(metric, "metrics", ()) for _ in each.variables]
    return inner if len(inner) == len(metric.variables) else [metric.name] * len(metric.variables)


def is_reported(metric: Any, state: Sequence[Any], idle: Collection[int] | None) -> bool:
    """Returns whether a metric is one of the results; see `ModelAdapter.metric_results`.

    Args:
        metric: of either generation.
        state: the values of its variables, which tell whether it counted: they are zeros where it never did.
        idle: the `id` of those that are reported all the same; None for all.
    """
    return idle is None or id(metric) in idle or any(np.any(value) for value in state)


def flat_result(name: str, result: Any) -> dict[str, float]:
    """Returns name to number of a metric's result: a number, an array (name_0, name_1, ...), or a dict of those."""
    if isinstance(result, dict):
        return {key: value for k, v in result.items() for key, value in flat_result(k, v).items()}
    array = np.asarray(result)
    return {name: float(array)} if array.ndim == 0 else {f"{name}_{i}": float(v) for i, v in enumerate(array.ravel())}


def _replicas() -> float:
    return float(tf.distribute.get_strategy().num_replicas_in_sync)
