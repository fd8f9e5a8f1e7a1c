"""When a checkpoint is written, by whom, and which ones stay."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from engine.core.run_log import tell
from trainers.checkpoints import checkpoint as files
from trainers.checkpoints.directory import checkpoint_path, checkpoint_steps, remove_checkpoint, remove_uncommitted
from trainers.checkpoints.table_parts import TableParts
from trainers.checkpoints.write import write_checkpoint
from trainers.config.saving import CheckpointConfig

__all__ = ["Saver"]

_log = logging.getLogger(__name__)


class Saver:
    """Writes checkpoints of a training run, in the background where asked to, and deletes old ones.

    A write that fails (a full disk) leaves the last commit as it is; the training goes on and tries again at the next
    save. Only the last save of a run raises.

    Args:
        directory: the training directory.
        config: cadence and retention.
        on_commit: called with the step after each commit.
    """

    def __init__(
        self, directory: str, config: CheckpointConfig, on_commit: Callable[[int], None] = lambda step: None
    ) -> None:
        self._directory, self._config, self._on_commit = directory, config, on_commit
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._last_step = -1
        self._last_time = time.monotonic()
        self.last_path: str | None = None
        self.pinned: set[int] = set()
        self._last_finite: int | None = None

    def clean(self) -> None:
        """Deletes what killed writers left. Called by the one writer before it writes."""
        remove_uncommitted(self._directory)

    def restored(self, step: int, path: str | None) -> None:
        """Counts from a checkpoint that was read."""
        self._last_step, self.last_path = step, path

    def due(self, step: int) -> bool:
        """Returns whether a save is due at this step."""
        every, last = self._config.every_steps, max(self._last_step, 0)
        by_step = every is not None and step // every > last // every
        by_time = self._config.every_s is not None and time.monotonic() - self._last_time >= self._config.every_s
        return step != self._last_step and (by_step or by_time)

    def save(
        self,
        step: int,
        tensors: dict[str, list[tuple[str, Any]]],
        state: dict[str, Any],
        wait: bool = False,
        parts: TableParts | None = None,
    ) -> None:
        """Commits a checkpoint.

        Args:
            step: optimizer steps done.
            tensors: group to (path, tensor); tensors, not variables: nothing may change them while they are written.
            state: JSON-able state; where its "finite" is False, the last checkpoint with finite weights is kept as well.
            wait: return only after the commit, and raise what went wrong.
            parts: rows of tables that all workers have written; they go into the checkpoint.

        Raises:
            Exception: what went wrong with the save before this one, or, with `wait`, with this one.
        """
        self.wait()
        self._last_step, self._last_time = step, time.monotonic()
        self._thread = threading.Thread(
            target=self._write, args=(step, tensors, state, parts), name="checkpoint-writer"
        )
        self._thread.start()
        if wait or not self._config.asynchronous:
            self.wait()
            if wait and self._error is not None:
                raise files.CheckpointNotWritten(
                    f"the checkpoint of step {step} could not be written to {self._directory}: {_short(self._error)}; "
                    f"the last committed one is {self.last_path}"
                )

    def wait(self) -> None:
        """Returns when no write is under way."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def finished_path(self) -> str | None:
        """Returns the path of the last commit, after waiting for one that is under way; None where there is none."""
        self.wait()
        return self.last_path

    def _write(
        self, step: int, tensors: dict[str, list[tuple[str, Any]]], state: dict[str, Any], parts: TableParts | None
    ) -> None:
        try:
            self.last_path = write_checkpoint(self._directory, step, tensors, state, parts)
            if state.get("finite", True):
                self._last_finite = step
            self._error = None
            _log.info("checkpoint of step %d is in %s", step, self.last_path)
            self._on_commit(step)
            self._prune()
        except Exception as error:
            self._error = error
            if parts is not None:
                parts.remove()
            with contextlib.suppress(OSError):  # the disk that is full may be the log's, too
                said = f"checkpoint of step {step} was not written: {_short(error)}"
                tell(f"{said}; the last committed checkpoint is {self.last_path or 'none'}")

    def _prune(self) -> None:
        steps = checkpoint_steps(self._directory)
        keep = set(steps[-self._config.keep :]) | self.pinned | self._by_time(steps) | {self._last_finite}
        for step in steps:
            if step not in keep:
                remove_checkpoint(self._directory, step)

    def _by_time(self, steps: list[int]) -> set[int]:
        span = self._config.keep_every_s
        if span is None:
            return set()
        kept: set[int] = set()
        last = None
        for step in steps:
            saved = files.load_checkpoint(checkpoint_path(self._directory, step)).state.get("saved_at", 0.0)
            if last is None or saved - last >= span:
                kept.add(step)
                last = saved
        return kept


def _short(error: BaseException) -> str:
    said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    # The end stays: TensorFlow names long paths first, and the reason behind them.
    return said if len(said) <= 300 else f"{said[:100]} ... {said[-195:]}"
