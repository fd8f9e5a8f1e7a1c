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
from pathlib import Path
from typing import Any

import numpy as np

from engine.storage.atomic import atomic_file
from trainers.serving.server.config import ServeConfig

__all__ = ["Recorder"]

_LOG = logging.getLogger(__name__)
_SHARD_ROWS = 10_000
_SHARD_S = 60.0
_SAY_S = 60.0  # least seconds between two warnings
_Item = tuple[str, int, Any, Mapping[str, np.ndarray]]


class Recorder:
    """Writes a share of requests in a thread of its own; where that falls behind, requests are left out, never held up.

    Args:
        config: of the server.
        on_left_out: called with how many requests were not written.
    """

    def __init__(self, config: ServeConfig, on_left_out: Callable[[int], None] = lambda requests: None) -> None:
        self._share, self._directory = config.record_share, Path(config.record_directory or "")
        self._queue: queue.Queue[_Item | None] = queue.Queue(maxsize=1000)
        self._shard = 0
        self.left_out = 0
        self._on_left_out, self._said = on_left_out, 0.0
        self._thread = threading.Thread(target=self._write, daemon=True, name="recorder")
        self._thread.start()

    def offer(self, model: str, version: int, examples: Any, outputs: Mapping[str, np.ndarray]) -> None:
        """Records a request if its turn comes up."""
        if random.random() >= self._share:  # noqa: S311 - a share of requests
            return
        try:
            self._queue.put_nowait((model, version, examples, outputs))
        except queue.Full:
            self._leave_out(1, "the disk is too slow for the share that is recorded")

    def close(self) -> None:
        """Writes what is left."""
        self._queue.put(None)
        self._thread.join()

    def _leave_out(self, requests: int, why: str) -> None:
        self.left_out += requests
        self._on_left_out(requests)
        if time.monotonic() - self._said >= _SAY_S or not self._said:
            self._said = time.monotonic()
            _LOG.warning("%d requests have not been recorded so far: %s", self.left_out, why)

    def _write(self) -> None:
        rows: list[bytes] = []
        started = time.monotonic()
        while True:
            try:
                item = self._queue.get(timeout=max(0.1, started + _SHARD_S - time.monotonic()))
            except queue.Empty:
                pass
            else:
                if item is None:
                    self._flush(rows)
                    return
                try:
                    rows += _with_answers(*item)
                except Exception as error:  # the thread must not end, nor without a word
                    self._leave_out(1, f"{type(error).__name__}: {error}")
            if len(rows) >= _SHARD_ROWS or time.monotonic() - started >= _SHARD_S:
                self._flush(rows)
                rows, started = [], time.monotonic()

    def _flush(self, rows: list[bytes]) -> None:
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
            self._leave_out(len(rows), f"{path} could not be written: {error}")


def _with_answers(model: str, version: int, examples: Any, outputs: Mapping[str, np.ndarray]) -> list[bytes]:
    import tensorflow as tf

    rows = []
    for position, serialized in enumerate(examples):
        example = tf.train.Example.FromString(serialized)
        feature = example.features.feature
        feature["served.model"].bytes_list.value.append(model.encode())
        feature["served.version"].int64_list.value.append(version)
        for name, values in outputs.items():
            answer = np.ravel(values[position])
            if answer.dtype.kind == "f":
                feature[f"served.{name}"].float_list.value.extend(answer.tolist())
            elif answer.dtype.kind in "iub":
                feature[f"served.{name}"].int64_list.value.extend(answer.astype(np.int64).tolist())
            else:
                feature[f"served.{name}"].bytes_list.value.extend(answer.tolist())
        rows.append(example.SerializeToString())
    return rows
