"""What the training loop asks of a model, whatever it was made with."""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import tensorflow as tf

from trainers.models.adapters.optimizers import Keras2Optimizer, Keras3Optimizer

__all__ = ["ModelAdapter"]


class ModelAdapter(abc.ABC):
    """A model with optimizer, loss and metrics.

    All methods with tensors run in replica context inside a tf.function.
    """

    model: Any
    optimizer: Any
    _stepper: Keras2Optimizer | Keras3Optimizer  # makes the steps of `optimizer`
    own_train_step: bool = False  # the model makes its steps itself: `train_step` below, not `loss` and `apply`
    own_test_step: bool = False
    evaluates_itself: bool = False  # with its test_step: this or what it returns is the model's own
    logs: Mapping[str, Any] = {}  # what that returned of the batch that was just evaluated
    # The `id` of each metric that a test_step or compute_metrics of the model's own updated; None where both are Keras's.
    updated: Collection[int] | None = None
    updated_in_training: Collection[int] | None = None  # the same of the steps of the training
    # Whether evaluation gives the model rows of padding as training gives it whole batches: workers exchange as many rows each time.
    keeps_rows: bool = False
    # How the loss of a batch comes from its examples: "mean", "sum", "weighted_mean" (divided by the sum of the weights),
    # "mixed" (several losses that differ in it).
    reduction: str = "mean"

    # Names of losses that return one number for all the examples they are shown: that of a batch is not made of its parts'.
    losses_of_whole_batches: Sequence[str] = ()

    # Label to output, where the outputs have names and none is a label's: they go together in their order.
    order_of_labels: Mapping[str, str] = {}

    # Of the `loss` that was just computed, where it is the mean over the steps that a mask leaves: how many those are;
    # a text where that cannot be said, what it is of.
    size_of_mean: Any = None

    @abc.abstractmethod
    def prepare(self, features: Mapping[str, Any], labels: Any, weights: Any) -> None:
        """Creates all variables, in the scope of the strategy, from a batch of zeros of the right shapes."""

    @abc.abstractmethod
    def set_learning_rate(self, schedule: Any) -> None:
        """Puts a function of the optimizer step in the place of the optimizer's rate. Called before `prepare`."""

    @abc.abstractmethod
    def loss(self, features: Any, labels: Any, weights: Any, update_metrics: bool) -> Any:
        """Returns the training loss of one replica's examples: its share of the sum over the replicas."""

    def penalty(self) -> Any:
        """Returns what part of the `loss` that was just computed does not come from the examples (regularisation)."""
        return tf.constant(0.0)

    def fit_scaling(self, strategy: Any, features: Any, labels: Any, weights: Any) -> str | None:
        """Finds out whether a loss of the user's own is divided by the number of replicas already.

        Called after `prepare`, outside of the strategy's scope, where there are several replicas.

        Returns:
            What a person should know of it, or None.

        Raises:
            ConfigError: part of the loss is, part is not.
        """
        return None

    def train_step(self, features: Any, labels: Any, weights: Any, reduce: Callable[[list[Any]], list[Any]]) -> Any:
        """Makes one step in the model's own way and returns its loss, a replica's share of the mean over all replicas.

        Args:
            features, labels, weights: one replica's examples.
            reduce: gradients of this replica, None where there is none, to those that the optimizer applies.
        """
        raise NotImplementedError

    def scale_loss(self, loss: Any) -> Any:
        """Returns the loss to differentiate (loss scaling of float16)."""
        return self._stepper.scale_loss(loss)

    def unscaled(self, gradients: Sequence[Any]) -> list[Any]:
        """Returns the gradients of the loss itself from those of the scaled loss."""
        return self._stepper.unscaled(gradients)

    @abc.abstractmethod
    def apply(self, gradients: Sequence[Any]) -> None:
        """Makes one optimizer step with gradients that are unscaled and summed over the replicas, None where there is none."""

    @abc.abstractmethod
    def evaluate(
        self, features: Any, labels: Any, weights: Any, mask: Any, weighted: bool = True
    ) -> tuple[Any, Any, Any]:
        """Updates the metrics and returns (loss of the examples, how many rows it is of, penalties that layers add).

        `mask`, bool [b] or None, is False for padding, whose weight is 0 already; metrics must not see it. Unless `weighted`, the
        weights say nothing else.
        """

    @property
    def averages(self) -> list[Any] | None:
        """Moving averages of `trainable`, in its order, where the optimizer itself keeps them; else None."""
        return self._stepper.averages

    @property
    @abc.abstractmethod
    def trainable(self) -> list[Any]:
        """tf.Variables that the optimizer changes, in a fixed order."""

    @property
    @abc.abstractmethod
    def named_variables(self) -> dict[str, list[tuple[str, Any]]]:
        """Group ("model", "optimizer", perhaps "loss") to (path, tf.Variable) in a fixed order: what a checkpoint holds."""

    @property
    @abc.abstractmethod
    def statistics(self) -> list[Any]:
        """Float variables that the forward pass may change on each replica by itself (BatchNorm); frozen weights are among them."""

    @property
    @abc.abstractmethod
    def metric_variables(self) -> list[Any]:
        """tf.Variables of the metrics; their sums over the replicas are what `metric_results` takes."""

    @property
    def metric_aggregations(self) -> list[str]:
        """How each of `metric_variables` comes from those of the replicas: "sum", "mean" or "only_first_replica"."""
        return ["sum"] * len(self.metric_variables)

    def metrics_from_elsewhere(self, local: Callable[[Any], Sequence[Any]]) -> list[str]:
        """Returns the names of metrics whose states are added up over the replicas and do not begin at 0 (a minimum's).

        Args:
            local: a variable to its parts on this host.
        """
        return []

    @abc.abstractmethod
    def metric_results(self, values: Sequence[Any], idle: Collection[int] | None = None) -> dict[str, float]:
        """Returns metric name to value from the summed variables; with `idle`, of metrics that counted nothing these alone."""

    @abc.abstractmethod
    def reset_metrics(self) -> None:
        """Sets the metrics back on this replica."""

    @property
    @abc.abstractmethod
    def iterations(self) -> Any:
        """The optimizer's step counter."""

    def rate(self) -> Any:
        """Returns the rate of the next step as a tensor, inside of a step."""
        rate = self._stepper.inner.learning_rate
        return tf.convert_to_tensor(rate(self.iterations) if callable(rate) else rate)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return self._stepper.learning_rate
