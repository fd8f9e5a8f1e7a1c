"""The synchronous training loop: many steps in one call of a compiled function.

A call reads `num_steps` batches, computes, sums gradients and loss over all replicas in one packed collective, clips,
applies (a model with a `train_step` of its own does the rest itself). The time is taken inside the graph: when the batch
was there, when the step's loss was. Statistics that each replica keeps for itself (BatchNorm) are averaged at the end of a
call, so that any save finds them equal everywhere and a save at another time changes no bit of what follows.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from engine.core.run_log import tell
from trainers.config.config import TrainerConfig
from trainers.data.labels import labels_of_classes
from trainers.data.targets import row_count, rows_of_part, split_example
from trainers.loop.faults.step_guard import StepGuard
from trainers.loop.gradients import TableGradients, clipped, multiplied, refuse_uneven_slices
from trainers.models.adapters import ModelAdapter
from trainers.models.adapters.loss_reduction import size_of_weights
from trainers.models.ema import WeightAverages
from trainers.models.written import written_variables
from trainers.strategies.placement import Placement
from trainers.tables.reads import reads_of

__all__ = ["CallResult", "SynchronousLoop"]


@dataclass(frozen=True, kw_only=True)
class CallResult:
    """What one call did.

    Args:
        losses: float32 [num_steps], loss of the global batches; NaN for a step that was not applied (on_nan="skip").
        wait_s: float64 [timed steps], seconds each timed step waited for its batch.
        step_s: float64 [timed steps], seconds of each timed step, waiting included.
        stop: some worker was asked to stop.
    """

    losses: np.ndarray
    wait_s: np.ndarray
    step_s: np.ndarray
    stop: bool = False

    @property
    def input_share(self) -> float:
        """Share of the timed steps that was waiting for the batch."""
        return float(self.wait_s.sum() / max(self.step_s.sum(), 1e-12))


# Odd: over the calls every place in a call is timed.
_PROBE_STRIDE = 7

_BATCHES_ON_DEVICE = 2


def _now(awaited: np.ndarray) -> np.float64:
    # An operation on an accelerator counts as done once it is queued. A value that was copied from there is computed.
    return np.float64(time.perf_counter())


class SynchronousLoop:
    """Steps on one device, several devices, several workers, or TPU cores.

    Args:
        placement: where the replicas are.
        adapter: the model, its variables made.
        unpack: packed batch to features, see `engine.Dataset.feed`.
        config: settings of the run.
        averages: moving averages of the weights, or None.
    """

    def __init__(
        self,
        placement: Placement,
        adapter: ModelAdapter,
        unpack: Callable[[Mapping[str, Any]], dict[str, Any]],
        config: TrainerConfig,
        averages: WeightAverages | None,
    ) -> None:
        self._placement, self._adapter, self._unpack, self._config = placement, adapter, unpack, config
        self._strategy, self._averages = placement.strategy, averages
        self._on_gpu = placement.on_gpu
        self._of_classes = labels_of_classes(getattr(adapter.model, "loss", None), config.labels)
        # Autograph would make another error of the ConfigError of a setting that the model does not take.
        compiled = functools.partial(tf.function, jit_compile=True, autograph=False)
        self._compiled_gradients = compiled(self._gradients) if config.xla else self._gradients
        # Replicas exchange gradients between the backward pass and the update: there only the former is compiled. A strategy for
        # several replicas meets them outside of the compiled function even where there is one, which TensorFlow refuses.
        alone = isinstance(self._strategy, tf.distribute.OneDeviceStrategy) and not adapter.own_train_step
        # Deterministic sums of an embedding's gradients, compiled for a GPU, took minutes (seen on an H200, TensorFlow 2.21).
        alone = alone and not (self._on_gpu and config.deterministic)
        # One compiled function inside of another is compiled again at each step (seen with TensorFlow 2.21).
        whole = functools.partial(self._updated, self._gradients, True)
        self._whole_step = compiled(whole) if config.xla and alone else None
        self._call = tf.function(self._steps, autograph=False)
        self._synchronise = tf.function(self._synchronised, autograph=False)
        self._statistics: list[Any] | None = None
        self._iterator: Any = None
        self._draws: Any = None  # random numbers of layers of tf_keras
        self._calls = 0
        # One step a call is timed, and waited for: to wait for each would leave the accelerator idle between them.
        self._sampled = not placement.jit_required
        self._guard = StepGuard(placement.strategy, self._guarded) if config.on_nan == "skip" else None

    def start(self, dataset: tf.data.Dataset, step: int = 0) -> None:
        """Reads from this dataset of host batches from now on, `step` steps being made."""
        self._iterator = self._placed(dataset)
        if "tf_keras" in sys.modules and isinstance(self._adapter.model, tf.Module):  # those of Keras 3 are none
            from trainers.compat.tf_keras_draws import StepDraws

            self._draws = StepDraws(self._adapter.model, self._strategy, self._config.seed, step)

    def close(self) -> None:
        """Leaves the model as its Keras has it."""
        if self._draws is not None:
            self._draws.release()

    @property
    def runs_ahead(self) -> bool:
        """Whether a call can be launched before the last one's result is read: an accelerator then never waits for Python."""
        return self._on_gpu and self._placement.num_replicas == 1

    def _placed(self, dataset: tf.data.Dataset) -> Any:
        replicas = self._placement.replicas_per_host
        if replicas == 1 and not self._on_gpu and not self._placement.jit_required:
            with self._strategy.scope():
                return iter(dataset)
        parts = split_batches(dataset, replicas)
        options = tf.distribute.InputOptions(experimental_per_replica_buffer_size=_BATCHES_ON_DEVICE)
        return iter(self._strategy.distribute_datasets_from_function(lambda _: parts, options))

    def launch(
        self, num_steps: int, stop_requested: bool = False, on_records: Callable[[np.ndarray], None] = lambda ids: None
    ) -> Callable[[], CallResult]:
        """Begins `num_steps` steps, and returns what waits for them and gives their result; it is called before the next call's.

        Args:
            num_steps: steps of this call.
            stop_requested: this worker was asked to stop.
            on_records: is given the record ids, int64 [num_steps, host batch], where the feed has them. It has returned on
                every worker before the result is there on any: a step that is committed has all its records noted.
        """
        self._calls += 1
        probed = self._calls * _PROBE_STRIDE % num_steps
        arguments = (self._iterator, tf.constant(num_steps, tf.int32), tf.constant(probed, tf.int32))
        losses, times, ids = self._call(*arguments)
        if self._placement.num_replicas > 1 and self._statistics is None:
            traced = self._call.get_concrete_function(*arguments)  # traced by the call above
            self._statistics = written_variables(traced, self._adapter.statistics, self._local)
            if isinstance(self._adapter.size_of_mean, str) and self._placement.is_chief:
                tell(
                    f"{self._adapter.size_of_mean}: each replica's mean counts alike, whatever is left of its examples"
                )

        def read() -> CallResult:
            if ids is not None:
                on_records(ids.numpy())
            stop = stop_requested
            if self._placement.num_replicas > 1:
                stop = bool(self._synchronise(tf.constant(float(stop_requested), tf.float64)).numpy() > 0)
            asked, ready, done = (times.numpy()[probed : probed + 1] if self._sampled else times.numpy()).T
            return CallResult(losses=losses.numpy(), wait_s=ready - asked, step_s=done - asked, stop=stop)

        if self.runs_ahead:
            return read
        result = read()
        return lambda: result

    def _steps(self, iterator: Any, num_steps: Any, probed: Any) -> tuple[Any, Any, Any]:
        with_ids = "record_ids" in (iterator.element_spec if isinstance(iterator.element_spec, dict) else {})
        arrays = [tf.TensorArray(kind, num_steps) for kind in (tf.float32, tf.float64, tf.int64)]

        def body(i: Any, last: Any, losses: Any, times: Any, ids: Any) -> Any:
            with tf.control_dependencies([last]):
                asked = self._clock(i, probed, self._a_weight)
            with tf.control_dependencies([asked]):
                batch = next(iterator)
            with tf.control_dependencies(self._local_tensors(batch)):
                ready = self._clock(i, probed, lambda: _a_number(self._local_tensors(batch)))
            before = self._guard.values() if self._guard is not None else None
            loss = self._local(self._strategy.run(self._replica_step, args=(batch,)))[0]
            if self._averages is not None:
                self._averages.update()
            if self._draws is not None:
                self._draws.count()
            if self._guard is not None and before is not None:
                loss = self._guard.undo_unless_finite(loss, before)
            with tf.control_dependencies([loss]):
                done = self._clock(i, probed, self._a_weight)
            if with_ids:
                ids = ids.write(i, tf.concat(self._local(batch["record_ids"]), 0))
            return i + 1, loss, losses.write(i, loss), times.write(i, tf.stack([asked, ready, done])), ids

        start = (tf.constant(0), tf.constant(0.0), *arrays)
        end = tf.while_loop(lambda i, *_: i < num_steps, body, start, parallel_iterations=1)
        losses, times, ids = end[2:]
        return losses.stack(), times.stack(), ids.stack() if with_ids else None

    def _clock(self, step: Any, probed: Any, awaited: Callable[[], Any]) -> Any:
        """Returns the time at which the number that `awaited` makes is computed, in the timed step; else 0."""
        if not self._sampled:
            return tf.timestamp()
        # tf.timestamp refuses to run under op determinism, and waits for no device.
        now = lambda: tf.ensure_shape(tf.numpy_function(_now, [awaited()], tf.float64), [])
        return tf.cond(step == probed, now, lambda: tf.constant(0.0, tf.float64))

    def _a_weight(self) -> Any:
        """A number that is there when the step before has changed the weights."""
        weights = self._adapter.trainable
        return _a_number([self._local(weights[0])[0].read_value()]) if weights else tf.constant(0.0)

    def _local(self, value: Any) -> tuple[Any, ...]:
        parts: tuple[Any, ...] = self._strategy.experimental_local_results(value)
        return parts

    def _local_tensors(self, batch: Any) -> list[Any]:
        return [
            t for part in tf.nest.flatten(batch) for t in tf.nest.flatten(self._local(part), expand_composites=True)
        ]

    def _guarded(self) -> tuple[list[Any], list[Any]]:
        """Returns (weights, everything else that a step changes)."""
        groups = self._adapter.named_variables
        averages = self._averages.averages if self._averages is not None else []
        every = [v for named in groups.values() for _, v in named] + averages + self._adapter.metric_variables
        return self._adapter.trainable, every

    def _replica_step(self, packed: Mapping[str, Any]) -> Any:
        parts = tf.nest.flatten(packed)
        # XLA takes neither strings nor rows of varying length: with such columns the gradients alone are compiled.
        if self._whole_step is not None and all(isinstance(t, tf.Tensor) and t.dtype != tf.string for t in parts):
            return self._whole_step(packed)
        return self._updated(self._compiled_gradients, self._placement.jit_required, packed)

    def _updated(self, differentiate: Callable[..., Any], compiled: bool, packed: Mapping[str, Any]) -> Any:
        config, adapter = self._config, self._adapter
        example = split_example(self._unpack(packed), config, of_classes=self._of_classes)
        if adapter.own_train_step:
            return self._sum([adapter.train_step(*example, reduce=self._reduced)])[0]
        self._of_tables = TableGradients()
        gradients, loss, size = differentiate(*example, self._sum_of_weights(example))
        *gradients, loss, size = self._summed([*gradients, loss, size])
        gradients = adapter.unscaled(gradients)
        tables = [(t, n, adapter.unscaled([g])[0]) for t, n, g in self._of_tables.summed()]
        if size is not None:
            share = tf.math.divide_no_nan(1.0, size)
            gradients, loss = multiplied(gradients, share), loss * share
            tables = [(t, n, g * share) for t, n, g in tables]
        if config.clip_norm is not None:
            square = self._sum([tf.add_n([tf.nn.l2_loss(g) * 2 for _, _, g in tables])])[0] if tables else 0.0
            gradients, factor = clipped(gradients, config.clip_norm, compiled, square)
            tables = [(t, n, g * factor) for t, n, g in tables]
        for table, numbers, gradient in tables:  # before the optimizer counts the step
            table.apply(numbers, gradient, adapter.rate(), adapter.iterations)
        adapter.apply(gradients)
        return loss

    def _reduced(self, gradients: list[Any]) -> list[Any]:
        """Returns the gradients of a model's own step summed over the replicas, and clipped."""
        summed = self._summed(gradients)
        if self._config.clip_norm is None:
            return summed
        return clipped(summed, self._config.clip_norm, dense=self._placement.jit_required)[0]

    def _summed(self, values: list[Any]) -> list[Any]:
        present = [i for i, v in enumerate(values) if v is not None]
        result: list[Any] = [None] * len(values)
        for i, value in zip(present, self._sum([values[i] for i in present])):
            result[i] = value
        return result

    def _sum_of_weights(self, example: tuple[Any, Any, Any]) -> Any:
        """Returns the sum of the weights of the global batch, which a loss that is divided by it needs; else None."""
        if self._adapter.reduction != "weighted_mean":
            return None
        features, _, weights = example
        return self._sum([size_of_weights(weights, row_count(tf.nest.flatten(features)[0]))])[0]

    def _sum(self, values: list[Any]) -> list[Any]:
        sums: list[Any] = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
        return sums

    def _gradients(self, features: Any, labels: Any, weights: Any, all_weights: Any) -> tuple[list[Any], Any, Any]:
        """Returns gradients, loss and None; where a mask says how much each part of the batch counts, sums and their size."""
        parts = self._config.accumulate_steps
        if parts == 1:
            return self._gradients_of(features, labels, weights, all_weights)
        total: list[Any] = []
        sizes: list[Any] = []
        loss = tf.constant(0.0)
        for part in range(parts):
            piece = tf.nest.map_structure(lambda t, p=part: rows_of_part(t, p, parts), (features, labels, weights))
            gradients, part_loss, size = self._gradients_of(piece[0], piece[1], piece[2], all_weights)
            dense = [None if g is None else tf.convert_to_tensor(g) for g in gradients]
            sizes += [] if size is None else [size]
            total = dense if not total else [None if a is None else a + b for a, b in zip(total, dense)]
            loss += part_loss
        return total, loss, tf.add_n(sizes) if sizes else None

    def _gradients_of(self, features: Any, labels: Any, weights: Any, all_weights: Any) -> tuple[list[Any], Any, Any]:
        adapter = self._adapter
        variables = adapter.trainable
        with tf.GradientTape() as tape, reads_of(tape) as reads:
            loss = adapter.loss(features, labels, weights, update_metrics=True)
            loss = self._share_of_slice(loss, labels, weights, all_weights)
            scaled = adapter.scale_loss(loss)
        if self._config.accumulate_steps > 1:
            refuse_uneven_slices(adapter.size_of_mean)
        gradients, loss = tape.gradient(scaled, [*variables, *(read.rows for read in reads)]), tf.cast(loss, tf.float32)
        size = self._size_of_part()
        if size is not None:  # a masked mean counts with what the mask leaves of the part
            # Of the gradients, not of the loss: what lies between may be float16.
            *gradients, loss = multiplied([*gradients, loss], size * self._placement.num_replicas)
        self._of_tables.add(reads, gradients[len(variables) :])
        return gradients[: len(variables)], loss, size

    def _size_of_part(self) -> Any:
        """Returns the size of the mean that was just computed, where the batch is cut and a mask says it; else None."""
        cut = self._config.accumulate_steps > 1 or self._placement.num_replicas > 1
        size = self._adapter.size_of_mean
        return size if cut and isinstance(size, tf.Tensor) else None

    def _share_of_slice(self, loss: Any, labels: Any, weights: Any, all_weights: Any) -> Any:
        """Returns what the loss of one slice adds to the loss of the global batch, by the way the loss is reduced."""
        adapter, slices = self._adapter, self._config.accumulate_steps
        if self._size_of_part() is not None:
            return loss
        if adapter.reduction in ("mean", "mixed"):
            return loss if slices == 1 else loss / slices
        if adapter.reduction == "sum" and slices == 1:
            return loss
        penalty = tf.cast(adapter.penalty(), loss.dtype)
        if adapter.reduction == "sum":
            return loss - penalty + penalty / slices
        # Keras divides by the weights of the slice and by the number of replicas; the batch has its own sum of weights.
        mine = size_of_weights(weights, row_count(tf.nest.flatten(labels)[0]))
        share = tf.math.divide_no_nan(mine, all_weights) * self._placement.num_replicas
        return (loss - penalty) * tf.cast(share, loss.dtype) + penalty / slices

    def _synchronised(self, flag: Any) -> Any:
        def replica(flag: Any) -> Any:
            context = tf.distribute.get_replica_context()
            statistics = self._statistics or []
            # In float64 the mean of equal float32 values is that value again: what a condition left alone keeps its bits.
            summed = context.all_reduce(
                tf.distribute.ReduceOp.SUM, [tf.identity(flag), *(tf.cast(v, tf.float64) for v in statistics)]
            )
            share = 1.0 / self._placement.num_replicas
            for variable, value in zip(statistics, summed[1:]):
                variable.assign(tf.cast(value * share, variable.dtype))
            return summed[0]

        return self._local(self._strategy.run(replica, args=(flag,)))[0]


def _a_number(tensors: list[Any]) -> Any:
    """Returns one element of a numeric tensor, 0 where there is none; nothing but it is copied from the device."""
    numeric = [t for t in tensors if t.dtype != tf.string and t.dtype != tf.variant]
    if not numeric:
        return tf.constant(0.0)
    return tf.reduce_sum(tf.cast(tf.reshape(numeric[0], [-1])[:1], tf.float32))


def split_batches(dataset: tf.data.Dataset, parts: int) -> tf.data.Dataset:
    """Returns the batches of a host cut into equal batches for its replicas, in order."""
    if parts == 1:
        return dataset

    def pieces(batch: Any) -> Any:
        numbers = tf.data.Dataset.range(parts)
        return numbers.map(
            lambda i: tf.nest.map_structure(lambda t: rows_of_part(t, tf.cast(i, tf.int32), parts), batch)
        )

    endless = dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    cut = dataset.flat_map(pieces)
    if endless:
        cut = cut.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return cut.prefetch(2 * parts)
