"""A share of the requests written down: their examples with the answers beside the features, as TFRecord shards.

What was served can so be compared with what was trained on: the shards are data like any other.
"""

from __future__ import annotations

import logging
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from engine.storage.atomic import atomic_file
from engine.storage.uris import local_path
from trainers.serving.server.config import ServeConfig
from trainers.serving.server.observe.recorded_rows import rows_with_answers

__all__ = ["SHARD_S", "Recorder"]

_LOG = logging.getLogger(__name__)
_SHARD_ROWS = 10_000
_SHARD_BYTES = 32 << 20
_MOST_WAITING = 64 << 20  # bytes of requests that wait to be written; one of any size may
SHARD_S = 60.0  # after which a shard is written that has fewer rows
_SAY_S = 60.0  # least seconds between two warnings
_Item = tuple[str, int, Any, Mapping[str, str], Mapping[str, np.ndarray], str]


class Recorder:
    """Writes a share of requests in a thread of its own; where that falls behind, requests are left out, never held up.

    Args:
        config: of the server.
        on_left_out: called with how many requests were not written.
    """

    def __init__(self, config: ServeConfig, on_left_out: Callable[[int], None] = lambda requests: None) -> None:
        self._share, self._directory = config.record_share, local_path(config.record_directory or "")
        self._queue: queue.Queue[_Item | None] = queue.Queue(maxsize=1000)
        self._waiting, self._counting = 0, threading.Lock()
        self._shard = 0
        self.left_out = 0
        self._on_left_out, self._said = on_left_out, 0.0
        self._thread = threading.Thread(target=self._write, daemon=True, name="recorder")
        self._thread.start()

    def offer(
        self,
        model: str,
        version: int,
        inputs: Any,
        outputs: Mapping[str, np.ndarray],
        names: Mapping[str, str] | None = None,
        signature: str = "serving_default",
    ) -> None:
        """Records a request if its turn comes up.

        Args:
            model: its name.
            version: that answered.
            inputs: serialized examples, or tensors by name, with a row for each of the request's. One without rows is counted alone.
            outputs: the answers.
            names: of features by those of their tensors, where the two differ.
            signature: that was asked.
        """
        if random.random() >= self._share:  # noqa: S311 - a share of requests
            return
        size = _size_of(inputs) + _size_of(outputs)
        with self._counting:
            room = not self._waiting or self._waiting + size <= _MOST_WAITING
            self._waiting += size if room else 0
        try:
            if not room:
                raise queue.Full
            self._queue.put_nowait((model, version, inputs, names or {}, outputs, signature))
        except queue.Full:
            if room:
                self._written(size)
            self._leave_out(1, "the disk is too slow for the share that is recorded")

    def close(self) -> None:
        """Writes what is left."""
        self._queue.put(None)
        self._thread.join()

    def _written(self, size: int) -> None:
        with self._counting:
            self._waiting -= size

    def _leave_out(self, requests: int, why: str) -> None:
        self.left_out += requests
        self._on_left_out(requests)
        if time.monotonic() - self._said >= _SAY_S or not self._said:
            self._said = time.monotonic()
            _LOG.warning("%d requests have not been recorded so far: %s", self.left_out, why)

    def _write(self) -> None:
        rows: list[bytes] = []
        size = requests = 0
        started = time.monotonic()
        while True:
            try:
                item = self._queue.get(timeout=max(0.1, started + SHARD_S - time.monotonic()))
            except queue.Empty:
                pass
            else:
                if item is None:
                    self._flush(rows, requests)
                    return
                try:
                    made = rows_with_answers(*item)
                    rows += made
                    size += sum(map(len, made))
                    requests += 1
                except Exception as error:  # the thread must not end, nor without a word
                    self._leave_out(1, f"{type(error).__name__}: {error}")
                self._written(_size_of(item[2]) + _size_of(item[4]))
            if len(rows) >= _SHARD_ROWS or size >= _SHARD_BYTES or time.monotonic() - started >= SHARD_S:
                self._flush(rows, requests)
                rows, size, requests, started = [], 0, 0, time.monotonic()

    def _flush(self, rows: list[bytes], requests: int) -> None:
        if not rows:
            return
        import tensorflow as tf

        path = self._directory / f"requests-{time.time_ns()}-{os.getpid()}-{self._shard:05d}.tfrecord"
        self._shard += 1
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
                for row in rows:
                    writer.write(row)
        except Exception as error:  # a full disk must not end the server
            self._leave_out(requests, f"{path} could not be written: {error}")


def _size_of(values: Any) -> int:
    """Bytes of an array, or of arrays by name."""
    if isinstance(values, Mapping):
        return sum(map(_size_of, values.values()))
    array = np.asarray(values)
    return sum(map(len, array.reshape(-1))) if array.dtype == object else array.nbytes
