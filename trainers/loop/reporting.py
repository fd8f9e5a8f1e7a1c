"""What a training run shows: rates, input wait, step times, metrics; TensorBoard and a profile of steps."""

from __future__ import annotations

import contextlib
import logging
import posixpath
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.errors import DataError
from engine.core.run_log import tell
from engine.storage import tree as storage
from trainers.config.config import TrainerConfig
from trainers.loop.synchronous import CallResult
from trainers.strategies.placement import Placement

__all__ = ["Meter", "Profiler", "Reporter", "Stopwatch", "opening_line"]

_log = logging.getLogger(__name__)
_SEND_EVERY_S = 30.0


class _Logs:
    """A directory that TensorFlow writes to: that of the training, or, where it cannot, one here that is copied there."""

    def __init__(self, directory: str, name: str) -> None:
        self._target = posixpath.join(directory, name)
        self._copied = not storage.is_local(directory)
        self._here: tempfile.TemporaryDirectory[str] | None = None
        self._sent_at = time.monotonic()

    @property
    def folder(self) -> str:
        """Where to write."""
        if not self._copied:
            return str(storage.local_path(self._target))
        if self._here is None:
            self._here = tempfile.TemporaryDirectory(prefix="fullpass-logs-")
        return self._here.name

    def send(self, every_s: float = 0.0) -> None:
        """Copies what was written; not again within `every_s`. Logs that cannot be sent stop no training."""
        if self._here is None or time.monotonic() - self._sent_at < every_s:
            return
        self._sent_at = time.monotonic()
        try:
            storage.upload_tree(Path(self._here.name), self._target)
        except DataError as error:
            tell(f"logs were not written: {error}")


class Meter:
    """Collects the steps since it was last read.

    Args:
        global_batch_size: examples a step.
        skips: a loss that is not finite is that of a step that was taken back.
    """

    def __init__(self, global_batch_size: int, skips: bool = False) -> None:
        self._batch, self._skips = global_batch_size, skips
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
            "loss": _mean_of_finite(losses) if self._skips else float(np.mean(losses, dtype=np.float64)),
            "examples_per_s": len(losses) * self._batch / elapsed,
            "input_wait_share": float(waits.sum() / max(steps.sum(), 1e-12)),
            "step_ms_p50": float(p50),
            "step_ms_p95": float(p95),
        }


def opening_line(config: TrainerConfig, placement: Placement, step: int, total_steps: int, steps_per_epoch: int) -> str:
    """Returns the one line with which a run begins."""
    import keras
    import tensorflow as tf

    replicas = f"{placement.num_replicas} replica{'s' if placement.num_replicas > 1 else ''}"
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    going = f"goes on from step {step:,} of" if step else "makes"
    return (
        f"train {going} {total_steps:,} steps of {config.global_batch_size:,} examples, {steps_per_epoch:,} an epoch; "
        f"{placement.name}, {replicas} on {kind}; TensorFlow {tf.__version__}, Keras {keras.__version__}"
    )


class Stopwatch:
    """Where the time of a run goes: each lap belongs to one kind of work; what is between them is nobody's."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("start", "input", "compute", "evaluate", "save"), 0.0)
        self._examples, self._at = 0, time.perf_counter()

    def lap(self, kind: str, input_share: float = 0.0, examples: int = 0) -> None:
        """Counts the time since the last lap as that of a kind; a share of it as waiting for input."""
        now = time.perf_counter()
        waited = input_share * (now - self._at)
        self.seconds["input"] += waited
        self.seconds[kind] += now - self._at - waited
        self._examples, self._at = self._examples + examples, now

    @property
    def examples_per_s(self) -> float:
        """Examples a second of input and computing together."""
        return self._examples / max(self.seconds["input"] + self.seconds["compute"], 1e-9)


def _mean_of_finite(losses: np.ndarray) -> float:
    """Returns the mean of the losses without steps that were taken back; NaN where no step counts."""
    finite = losses[np.isfinite(losses)]
    return float(np.mean(finite, dtype=np.float64)) if len(finite) else float("nan")


class Reporter:
    """Writes scalars for TensorBoard, on the chief only.

    Args:
        config: settings of the run.
        active: this process is the one that writes.
    """

    def __init__(self, config: TrainerConfig, active: bool) -> None:
        self._logs = _Logs(config.directory, "logs")
        self._active, self._on = active, active and config.tensorboard
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fullpass-summaries")
        self._writing: list[Future[None]] = []
        self._writers: dict[str, Any] = {}
        self._failing = False  # and it was said

    def scalars(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Writes values of "train" or "eval" at a step, for TensorBoard and in the log of the run."""
        if self._active:
            shown = ", ".join(f"{name} {value:.6g}" for name, value in values.items())
            _log.info("%s, step %d: %s", kind, step, shown)
        if not self._on:
            return
        values = dict(values)
        # Written aside: a slow disk or object store does not hold steps up. One thread keeps the order.
        self._writing.append(self._thread.submit(self._try_to_write, kind, step, values))
        self._writing = [one for one in self._writing if not (one.done() and one.result() is None)]

    def _try_to_write(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Writes, or says once that it cannot: a full disk stops no training, and is tried again with the next values."""
        import tensorflow as tf

        try:
            self._write(kind, step, values)
            self._failing = False
        except (OSError, tf.errors.OpError) as error:
            self._forget(kind)
            if not self._failing:
                self._failing = True
                why = getattr(error, "message", None) or str(error) or type(error).__name__
                tell(
                    f"TensorBoard's {kind} values of step {step} were not written: {why.splitlines()[0]}; the training goes on"
                )

    def _forget(self, kind: str) -> None:
        import tensorflow as tf

        writer = self._writers.pop(kind, None)
        with contextlib.suppress(OSError, tf.errors.OpError):
            if writer is not None:
                writer.close()

    def _write(self, kind: str, step: int, values: dict[str, float]) -> None:
        import tensorflow as tf

        # tf.summary.scalar needs the tensorboard package; this writes the same record without it.
        metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class=1
        )
        if kind not in self._writers:
            self._writers[kind] = tf.summary.create_file_writer(posixpath.join(self._logs.folder, kind))
        with self._writers[kind].as_default(step=step):
            for name, value in values.items():
                tf.summary.write(name, np.float32(value), metadata=metadata)
        self._writers[kind].flush()
        self._logs.send(every_s=_SEND_EVERY_S)

    def close(self) -> None:
        """Closes the files, once all is written."""
        self._thread.shutdown(wait=True)
        for one in self._writing:
            one.result()
        wrote = bool(self._writers)
        for kind in list(self._writers):
            self._forget(kind)
        if wrote:
            self._logs.send()


class Profiler:
    """Profiles the chosen steps for TensorBoard; starts and stops at the boundaries of calls."""

    def __init__(self, config: TrainerConfig, active: bool) -> None:
        self._steps = config.profile_steps if active else None
        self._logs = _Logs(config.directory, "logs/profile")
        self._running = False

    def at(self, step: int) -> None:
        """Takes the number of steps done before each call and after the last."""
        if self._steps is None:
            return
        import tensorflow as tf

        first, last = self._steps
        if not self._running and first <= step <= last:
            tf.profiler.experimental.start(self._logs.folder)
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
            self._logs.send()
