"""The asynchronous loop of parameter servers: the chief hands each global batch to whichever worker is free.

The chief reads the data, so the position in it is exact; a batch whose worker died is given to another one. What that
worker had already applied stays applied: an update may count twice, and the order of updates is not fixed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import tensorflow as tf

from trainers.loop.synchronous import CallResult, SynchronousLoop
from trainers.loop.validation import MetricCollector, Validation

__all__ = ["AsynchronousLoop", "AsynchronousMetrics", "AsynchronousValidation"]


class AsynchronousLoop(SynchronousLoop):
    """Steps that workers make independently; a call returns when all of its steps are done. Arguments as its base."""

    def start(self, dataset: tf.data.Dataset, step: int = 0) -> None:
        """Reads from this dataset of global batches from now on."""
        self._iterator = iter(dataset)
        self._spec = dataset.element_spec
        self._step = tf.function(self._whole_step_of_worker, autograph=False)

    def _whole_step_of_worker(self, batch: Any) -> Any:
        loss = self._strategy.run(self._replica_step, args=(batch,))
        if self._averages is not None:  # after each step, as elsewhere: a call has any number of them
            self._averages.update()
        return loss

    def launch(
        self, num_steps: int, stop_requested: bool = False, on_records: Callable[[np.ndarray], None] = lambda ids: None
    ) -> Callable[[], CallResult]:
        """Makes `num_steps` steps and returns what gives their result; `step_s` is the mean over the call. Arguments as its base's."""
        coordinator = self._placement.coordinator
        started = time.perf_counter()
        waits, ids, losses = [], [], []
        for _ in range(num_steps):
            asked = time.perf_counter()
            batch = next(self._iterator)
            waits.append(time.perf_counter() - asked)
            if "record_ids" in batch:
                ids.append(batch["record_ids"].numpy())
            losses.append(coordinator.schedule(self._step, args=(batch,)))
        coordinator.join()
        values = [float(loss.fetch()) for loss in losses]
        if ids:
            on_records(np.stack(ids))
        step_s = (time.perf_counter() - started) / num_steps
        result = CallResult(
            losses=np.array(values, np.float32),
            wait_s=np.array(waits),
            step_s=np.full(num_steps, step_s),
            stop=stop_requested,
        )
        return lambda: result

    def _sum(self, values: list[Any]) -> list[Any]:
        return values


class AsynchronousMetrics(MetricCollector):
    """Metrics whose variables are on the parameter servers already."""

    def _summed(self) -> list[Any]:
        return [tf.identity(v) for v in self._adapter.metric_variables]

    def reset(self) -> None:
        """Forgets what was counted."""
        if self._adapter.metric_variables:
            coordinator = self._placement.coordinator
            coordinator.schedule(self._zero)
            coordinator.join()

    def collect(self, idle: Collection[int] | None = None) -> dict[str, float]:
        """Returns metric name to value over everything since the last reset, and resets. Arguments as its base's."""
        if not self._adapter.metric_variables:
            return {}
        results = self._adapter.metric_results([v.numpy() for v in self._summed()], idle)
        self.reset()
        return results


class AsynchronousValidation(Validation):
    """Evaluation batches are handed to the workers, too."""

    def run(self, dataset: tf.data.Dataset, num_steps: int) -> dict[str, float]:
        """Returns the metrics, "loss" first, of `num_steps` batches."""
        coordinator, strategy = self._placement.coordinator, self._placement.strategy
        step = tf.function(lambda batch: strategy.run(self._replica_step, args=(batch,)), autograph=False)
        self._metrics.reset()
        parts = [coordinator.schedule(step, args=(batch,)) for batch in dataset.take(num_steps)]
        coordinator.join()
        sums = np.array([[float(v) for v in part.fetch()] for part in parts])
        return self._named(float(sums[:, 0].sum() / max(sums[:, 1].sum(), 1.0)), {})

    def _sum(self, values: list[Any]) -> list[Any]:
        return values
