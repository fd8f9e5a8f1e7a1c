"""The local runner: threads of this process, one a core and at most eight or four; processes for what holds Python's lock.

Reading, Arrow, numpy and TensorFlow release Python's lock for most of their time, so a few threads use as many cores without copying
batches between processes. Accumulators that work in Python, on a dictionary of keys say, do not, and many threads wait for the lock
all the same: where the first split shows that such a pass will take long, the others go to processes. Results are the same bits.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from engine.core.errors import ConfigError
from engine.core.progress import Progress
from engine.machine.processes import processors
from transforms.passes.protocols import AccumulatePass, WritePass, carrying
from transforms.passes.shards import ShardResult, ShardTask
from transforms.runners.base import BatchReader, PassResult
from transforms.runners.first_batch import FirstBatch
from transforms.runners.processes import WorkerProcesses

__all__ = ["LocalRunner"]


# Of a process: beyond, threads wait for Python's lock. On 16 cores, of strings made in the graph, `analyze` took 7.5 s with 4 threads
# and 6.5 s with 16, for half as much processor time again (33 s beside 21 s): it gets some more. `transform` took
# 8.3 s with 4 and 10.4 s with 16.
_MOST_THREADS = {"analyze": 8, "transform": 4}
_SCALING_WORKERS = 4  # as many threads use as many cores
_PROCESSES = ("auto", "always", "never")


class LocalRunner:
    """Runs passes on the cores of this machine.

    Args:
        options: "--workers=N" for another number of workers than cores, of which at most eight are threads, four in `transform`;
            "--processes=always" or "never" to choose between processes and threads ("auto": as the plan needs).

    Attributes:
        long_pass_s: a pass that is expected to take longer on one core is left to processes, where the plan needs them: half of
            it is saved by two, whose imports cost about six seconds.
    """

    name = "local"
    long_pass_s: float = 30.0

    def __init__(self, options: Sequence[str] = ()) -> None:
        self.num_workers = processors()
        self._processes = "auto"
        for option in options:
            key, _, value = option.partition("=")
            if key == "--workers" and value.isdecimal() and int(value) >= 1:
                self.num_workers = int(value)
            elif key == "--processes" and value in _PROCESSES:
                self._processes = value
            else:
                raise ConfigError(
                    f"the local runner takes --workers=N with N of 1 or more, and --processes=auto, always or never; got {option!r}"
                )

    def accumulate(
        self, plan: AccumulatePass, reader: BatchReader, splits: Sequence[Any], progress: Progress
    ) -> PassResult:
        """Returns the merged parts of a pass over all splits."""
        if self._processes == "always" and plan.portable:
            return self._with_processes(plan, reader, splits, progress, None)
        opened = plan.open()
        carrier = carrying(opened)
        watch, first = _Watch(progress), FirstBatch(opened)
        begun: queue.SimpleQueue[Any] = queue.SimpleQueue()  # states that no thread works on: at most one a thread

        def run(index: int) -> tuple[int, int, Mapping[tuple[int, int], bytes | memoryview]]:
            with first.before_others(index):
                batches = first.count(watch.count(reader.read(splits[index])))
                if carrier is None:
                    whole = opened.accumulate(batches)
                    return index, whole.rows, opened.encode(whole)
                held = None
                with contextlib.suppress(queue.Empty):
                    held = begun.get_nowait()
                state = carrier.accumulate(batches, held)
            parts = carrier.encode(state, order_free=False)
            begun.put(state)
            return index, state.rows, parts

        def carried() -> list[Callable[[], Mapping[tuple[int, int], bytes | memoryview]]]:
            if carrier is None:
                return []
            states = [begun.get_nowait() for _ in range(begun.qsize())]
            return [functools.partial(carrier.encode, state, order_free=True) for state in states]

        try:
            results = []
            crowded = plan.holds_lock or self.num_workers > _SCALING_WORKERS
            several = min(self.num_workers, len(splits) - 1) > 1
            if self._processes == "auto" and crowded and several and plan.portable:
                start = time.thread_time()
                results.append(run(0))
                expected_s = (time.thread_time() - start) * (len(splits) - 1)
                if expected_s > self.long_pass_s:
                    index, rows, parts = results[0]
                    for encode in carried():
                        parts = {**parts, **encode()}
                    return self._with_processes(plan, reader, splits, progress, (index, rows, parts))
            with self._threads("analyze") as pool, first:
                results += _all(pool, [pool.submit(run, index) for index in range(len(results), len(splits))])
                kept = _all(pool, [pool.submit(encode) for encode in carried()])
                grouped: dict[tuple[int, int], list[bytes | memoryview]] = {}
                for each in [*(parts for _, _, parts in sorted(results, key=lambda result: result[0])), *kept]:
                    for key, blob in each.items():
                        grouped.setdefault(key, []).append(blob)
                keys = list(grouped)
                merged = _all(pool, [pool.submit(plan.merge, key, grouped[key]) for key in keys])
        finally:
            opened.close()
        return PassResult(parts=dict(zip(keys, merged)), split_rows={index: rows for index, rows, _ in results})

    def _with_processes(
        self, plan: AccumulatePass, reader: BatchReader, splits: Sequence[Any], progress: Progress, first: Any
    ) -> PassResult:
        """The same with processes; `first` is the result of split 0 where this process has it."""
        with WorkerProcesses(plan, reader, min(self.num_workers, max(len(splits), 1))) as workers:
            progress.restart_clock()  # their imports take seconds, of which no row a second can be told
            rows: dict[int, int] = {}
            found: dict[tuple[int, int], list[int]] = {}
            if first is not None:
                workers.keep(0, first[2], first[1])
                rows[0], found = first[1], {key: [0] for key in first[2]}
            left = [(number, split) for number, split in enumerate(splits) if number not in rows]
            more_rows, more = workers.accumulate(left, progress.advance)
            for key, numbers in more.items():
                found.setdefault(key, []).extend(numbers)
            merged = workers.merge(found)
        return PassResult(parts=merged, split_rows={**rows, **more_rows})

    def transform(
        self, plan: WritePass, reader: BatchReader, tasks: Sequence[ShardTask], progress: Progress
    ) -> list[ShardResult]:
        """Runs each task and returns the results in the order of tasks."""
        opened = plan.open()
        watch, first = _Watch(progress), FirstBatch(opened)

        def run(index: int) -> ShardResult:
            with first.before_others(index):
                written: ShardResult = opened.run(
                    tasks[index], reader, lambda batches: first.count(watch.count(batches))
                )
                return written

        try:
            with self._threads("transform") as pool, first:
                return _all(pool, [pool.submit(run, index) for index in range(len(tasks))])
        finally:
            opened.close()

    def _threads(self, work: str) -> concurrent.futures.ThreadPoolExecutor:
        return concurrent.futures.ThreadPoolExecutor(min(self.num_workers, _MOST_THREADS[work]))


def _all(pool: concurrent.futures.Executor, futures: list[concurrent.futures.Future[Any]]) -> list[Any]:
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
