"""What a training shows while it runs: rates, input wait, step times, metrics; TensorBoard and a profile of steps."""

from __future__ import annotations

import posixpath
import time
from typing import Any

import numpy as np

from trainers.config import TrainerConfig
from trainers.loop import CallResult

__all__ = ["Meter", "Profiler", "Reporter"]


class Meter:
    """Collects the steps since it was last read."""

    def __init__(self, global_batch_size: int) -> None:
        self._batch = global_batch_size
        self._clear()

    def _clear(self) -> None:
        self._losses: list[np.ndarray] = []
        self._waits: list[np.ndarray] = []
        self._steps: list[np.ndarray] = []
        self._started = time.perf_counter()

    @property
    def empty(self) -> bool:
        """Whether there was no step since the last reading."""
        return not self._losses

    def add(self, result: CallResult) -> None:
        """Takes one call in."""
        self._losses.append(result.losses)
        self._waits.append(result.wait_s)
        self._steps.append(result.step_s)

    def read(self) -> dict[str, float]:
        """Returns loss, examples_per_s, input_wait_share, step_ms_p50 and step_ms_p95 since the last reading."""
        if not self._losses:
            return {}
        losses, waits, steps = map(np.concatenate, (self._losses, self._waits, self._steps))
        elapsed = time.perf_counter() - self._started
        self._clear()
        p50, p95 = np.percentile(steps, [50, 95]) * 1e3
        return {
            "loss": float(np.mean(losses, dtype=np.float64)),
            "examples_per_s": len(losses) * self._batch / elapsed,
            "input_wait_share": float(waits.sum() / max(steps.sum(), 1e-12)),
            "step_ms_p50": float(p50),
            "step_ms_p95": float(p95),
        }


class Reporter:
    """Writes scalars for TensorBoard, on the chief only.

    Args:
        config: settings of the run.
        active: this process is the one that writes.
    """

    def __init__(self, config: TrainerConfig, active: bool) -> None:
        self._directory = posixpath.join(config.directory, "logs")
        self._on = active and config.tensorboard
        self._writers: dict[str, Any] = {}

    def scalars(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Writes values of "train" or "eval" at a step."""
        if not self._on:
            return
        import tensorflow as tf

        # tf.summary.scalar needs the tensorboard package; this writes the same record without it.
        metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class=1
        )
        if kind not in self._writers:
            self._writers[kind] = tf.summary.create_file_writer(posixpath.join(self._directory, kind))
        with self._writers[kind].as_default(step=step):
            for name, value in values.items():
                tf.summary.write(name, np.float32(value), metadata=metadata)
        self._writers[kind].flush()

    def close(self) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()


class Profiler:
    """Profiles the chosen steps for TensorBoard; starts and stops at the boundaries of calls."""

    def __init__(self, config: TrainerConfig, active: bool) -> None:
        self._steps = config.profile_steps if active else None
        self._directory = posixpath.join(config.directory, "logs", "profile")
        self._running = False

    def at(self, step: int) -> None:
        """Is told the number of steps done before each call and after the last."""
        if self._steps is None:
            return
        import tensorflow as tf

        first, last = self._steps
        if not self._running and first <= step <= last:
            tf.profiler.experimental.start(self._directory)
            self._running = True
        elif self._running and step > last:
            self.stop()

    def stop(self) -> None:
        """Ends a profile that is under way."""
        if self._running:
            import tensorflow as tf

            tf.profiler.experimental.stop()
            self._running = False
            self._steps = None
