"""The local runner: threads of this process, one a core.

Reading, Arrow, numpy and TensorFlow release Python's lock for nearly all of their time, so threads use all cores without
copying batches between processes.
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from engine.core.errors import ConfigError
from engine.core.progress import Progress
from transforms.passes.analysis import AnalysisPass
from transforms.passes.transformation import ShardResult, ShardTask, TransformPass
from transforms.runners.base import PassResult, SplitReader

__all__ = ["LocalRunner"]


class LocalRunner:
    """Runs passes on the cores of this machine.

    Args:
        options: "--workers=N" for another number of threads than cores.
    """

    name = "local"

    def __init__(self, options: Sequence[str] = ()) -> None:
        self.num_workers = os.cpu_count() or 1
        for option in options:
            key, _, value = option.partition("=")
            if key != "--workers" or not value.isdigit() or int(value) < 1:
                raise ConfigError(f"the local runner takes --workers=N with N of 1 or more, got {option!r}")
            self.num_workers = int(value)

    def accumulate(
        self, plan: AnalysisPass, reader: SplitReader, splits: Sequence[Any], progress: Progress
    ) -> PassResult:
        """Returns the merged parts of a pass over all splits."""
        opened = plan.open()
        watch = _Watch(progress)

        def run(index: int) -> tuple[int, int, dict[tuple[int, int], bytes | memoryview]]:
            state = opened.accumulate(watch.count(reader.read(splits[index])))
            return index, state.rows, opened.encode(state)

        try:
            with concurrent.futures.ThreadPoolExecutor(self.num_workers) as pool:
                results = _all(pool, [pool.submit(run, index) for index in range(len(splits))])
                grouped: dict[tuple[int, int], list[bytes | memoryview]] = {}
                for _, _, parts in sorted(results, key=lambda result: result[0]):
                    for key, blob in parts.items():
                        grouped.setdefault(key, []).append(blob)
                keys = list(grouped)
                merged = _all(pool, [pool.submit(plan.merge, key, grouped[key]) for key in keys])
        finally:
            opened.close()
        return PassResult(parts=dict(zip(keys, merged)), split_rows={index: rows for index, rows, _ in results})

    def transform(
        self, plan: TransformPass, reader: SplitReader, tasks: Sequence[ShardTask], progress: Progress
    ) -> list[ShardResult]:
        """Runs each task and returns the results in the order of tasks."""
        opened = plan.open()
        watch = _Watch(progress)
        try:
            with concurrent.futures.ThreadPoolExecutor(self.num_workers) as pool:
                return _all(pool, [pool.submit(opened.run, task, reader, watch.count) for task in tasks])
        finally:
            opened.close()


def _all(pool: concurrent.futures.Executor, futures: list[concurrent.futures.Future]) -> list[Any]:
    """Results in order; the first failure cancels what has not begun."""
    try:
        concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
        for future in futures:
            if future.done() and not future.cancelled():
                future.result()
        return [future.result() for future in futures]
    except BaseException:
        for future in futures:
            future.cancel()
        raise


class _Watch:
    def __init__(self, progress: Progress) -> None:
        self._progress, self._lock = progress, threading.Lock()

    def count(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch
            with self._lock:
                self._progress.advance(batch.num_rows)
