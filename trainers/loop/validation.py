"""A pass over the evaluation data during training: every example once, metrics over all replicas."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import tensorflow as tf

from trainers.config.config import TrainerConfig
from trainers.data.labels import labels_of_classes
from trainers.data.targets import row_count, split_example
from trainers.loop.synchronous import split_batches
from trainers.models.adapters import ModelAdapter
from trainers.models.adapters.keras_base import flat_result
from trainers.models.adapters.loss_reduction import size_of_weights
from trainers.strategies.placement import Placement

__all__ = ["MetricCollector", "Validation"]


_FIRST = "only_first_replica"


class MetricCollector:
    """Reads the metrics summed over all replicas, and sets them back."""

    def __init__(self, placement: Placement, adapter: ModelAdapter) -> None:
        self._placement, self._adapter = placement, adapter
        self._read = tf.function(self._summed, autograph=False)
        self._zero = tf.function(lambda: placement.strategy.run(adapter.reset_metrics), autograph=False)

    def collect(self, idle: Collection[int] | None = None) -> dict[str, float]:
        """Returns metric name to value over everything since the last reset, and resets.

        With `idle`, metrics that counted nothing are left out, save these.
        """
        if not self._adapter.metric_variables:
            return {}
        values = [v.numpy() for v in self._read()]
        self._zero()
        return self._adapter.metric_results(values, idle)

    def reset(self) -> None:
        """Forgets what was counted."""
        if self._adapter.metric_variables:
            self._zero()

    def _summed(self) -> list[Any]:
        kinds = self._adapter.metric_aggregations

        def replica() -> Any:
            context = tf.distribute.get_replica_context()
            first = tf.equal(context.replica_id_in_sync_group, 0)
            values = [tf.identity(v) for v in self._adapter.metric_variables]
            values = [tf.where(first, v, tf.zeros_like(v)) if k == _FIRST else v for k, v in zip(kinds, values)]
            summed = context.all_reduce(tf.distribute.ReduceOp.SUM, values)
            count = self._placement.num_replicas
            return [tf.cast(v / count, v.dtype) if k == "mean" else v for k, v in zip(kinds, summed)]

        strategy = self._placement.strategy
        return [strategy.experimental_local_results(v)[0] for v in strategy.run(replica)]


class Validation:
    """Evaluates the model on a data set; the last batch is padded and its padding weighs nothing."""

    def __init__(
        self,
        placement: Placement,
        adapter: ModelAdapter,
        unpack: Callable[[Mapping[str, Any]], dict[str, Any]],
        config: TrainerConfig,
        metrics: MetricCollector,
    ) -> None:
        self._placement, self._adapter, self._unpack, self._config = placement, adapter, unpack, config
        self._metrics = metrics
        self._call = tf.function(self._steps, autograph=False)

    def run(self, dataset: tf.data.Dataset, num_steps: int) -> dict[str, float]:
        """Returns the metrics, "loss" first, of `num_steps` batches of this host's part of the data."""
        strategy, replicas = self._placement.strategy, self._placement.replicas_per_host
        endless = dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        if replicas == 1 and not self._placement.jit_required:
            with strategy.scope():
                iterator = iter(dataset)
        else:
            parts = split_batches(endless, replicas)
            iterator = iter(strategy.distribute_datasets_from_function(lambda _: parts))
        self._metrics.reset()
        total, count, logs = self._call(iterator, tf.constant(num_steps, tf.int32))
        return self._named(float(total.numpy() / max(count.numpy(), 1.0)), logs)

    def _named(self, loss: float, logs: Mapping[str, Any]) -> dict[str, float]:
        """Returns the loss and the metrics; a model with a test_step of its own counts its loss itself.

        `logs` is what that returned of the last batch: what is no metric in it is reported as Keras reports it, and a metric that
        counted nothing is none.
        """
        metrics = self._metrics.collect(self._adapter.updated)
        counted = metrics.pop("loss", loss)
        more = {k: v for name, value in logs.items() for k, v in flat_result(name, value).items() if k != "loss"}
        return {"loss": counted if self._adapter.evaluates_itself else loss, **more, **metrics}

    def _steps(self, iterator: Any, num_steps: Any) -> tuple[Any, Any, dict[str, Any]]:
        def body(i: Any, total: Any, count: Any) -> Any:
            batch = next(iterator)
            sums = self._placement.strategy.run(self._replica_step, args=(batch,))
            loss, n = (self._placement.strategy.experimental_local_results(v)[0] for v in sums)
            return i + 1, total + tf.cast(loss, tf.float64), count + tf.cast(n, tf.float64)

        zero = tf.constant(0.0, tf.float64)
        # What a replica makes of its metrics is none of theirs together, so that several replicas have no logs.
        logged = self._adapter.evaluates_itself and self._placement.num_replicas == 1
        _, total, count = tf.while_loop(
            lambda i, *_: i < num_steps - int(logged), body, (tf.constant(0), zero, zero), parallel_iterations=1
        )
        if not logged:
            return total, count, {}
        strategy = self._placement.strategy
        (loss, n), logs = strategy.run(
            lambda batch: (self._replica_step(batch), _numbers(self._adapter.logs)), args=(next(iterator),)
        )
        local = strategy.experimental_local_results
        return (
            total + tf.cast(local(loss)[0], tf.float64),
            count + tf.cast(local(n)[0], tf.float64),
            {name: local(value)[0] for name, value in logs.items()},
        )

    def _replica_step(self, packed: Mapping[str, Any]) -> tuple[Any, Any]:
        batch = self._unpack(packed)
        classes = labels_of_classes(getattr(self._adapter.model, "loss", None), self._config.labels)
        features, labels, weights = split_example(batch, self._config, training=False, of_classes=classes)
        mask = batch.get("mask")
        real = (
            tf.cast(row_count(tf.nest.flatten(batch)[0]), tf.float32)
            if mask is None
            else tf.reduce_sum(tf.cast(mask, tf.float32))
        )
        loss, rows, penalty = self._adapter.evaluate(
            features, labels, weights, mask, weighted=self._config.weight is not None
        )
        # A penalty may be of the batch (an activity regularizer, add_loss): each counts with its rows, as Keras counts it.
        total = tf.math.multiply_no_nan(loss, self._share_of_batch(rows, real, weights)) + real * penalty
        total = tf.where((rows > 0) & (real > 0), total, 0.0)  # of padding alone a model may make what is no number
        return tuple(self._sum([total, real]))

    def _share_of_batch(self, rows: Any, real: Any, weights: Any) -> Any:
        """Returns by what a replica's loss is multiplied, so that the sum over replicas and batches is rows x loss.

        Keras reports the mean of the batches' losses, each weighted by its rows: with "sum" the loss of a batch is the
        sum of those of the replicas, with "weighted_mean" their mean weighted by the sums of weights.
        """
        size = None if self._adapter.evaluates_itself else self._adapter.size_of_mean
        if isinstance(size, tf.Tensor):
            all_rows, all_sizes = self._sum([real, size])
            return all_rows * tf.math.divide_no_nan(size, all_sizes)
        if self._adapter.evaluates_itself or self._adapter.reduction in ("mean", "mixed"):
            return rows
        weight = size_of_weights(weights, real)
        all_rows, all_weights = self._sum([real, weight])
        if self._adapter.reduction == "sum":
            return all_rows
        return all_rows * tf.math.divide_no_nan(weight, all_weights)

    def _sum(self, values: list[Any]) -> list[Any]:
        sums: list[Any] = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
        return sums


def _numbers(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns name to float32 tensor of the numbers and arrays among logs; a dict in them is a metric with several results."""
    found: dict[str, Any] = {}
    for name, value in logs.items():
        if isinstance(value, Mapping):
            found.update(_numbers(value))
        else:
            with contextlib.suppress(TypeError, ValueError):  # nothing that a tensor can hold
                tensor = tf.convert_to_tensor(value)
                found |= {} if tensor.dtype == tf.string else {name: tf.cast(tensor, tf.float32)}
    return found
