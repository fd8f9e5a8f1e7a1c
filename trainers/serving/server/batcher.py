"""Requests of one signature joined into batches: in the event loop, without a thread or a lock a request.

A batch closes when it is full, when its first request has waited `batch_timeout_micros`, and not before a thread is free to run it:
under load batches grow by themselves, since what arrives while all threads compute waits together.
"""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

import numpy as np

from trainers.serving.server.config import BatchingConfig
from trainers.serving.server.errors import DeadlineExceeded, Overloaded
from trainers.serving.server.signatures import Signature

__all__ = ["Batcher"]

_Arrays = Mapping[str, np.ndarray]


class _Waiting:
    """A request, or a part of one, that waits for its answer."""

    __slots__ = ("answer", "arrays", "deadline", "rows")

    def __init__(self, arrays: _Arrays, rows: int, deadline: float | None, answer: asyncio.Future[Any]) -> None:
        self.arrays, self.rows, self.deadline, self.answer = arrays, rows, deadline, answer

    def expired(self, now: float) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.answer.done() or (self.deadline is not None and now > self.deadline)


class Batcher:
    """Joins the requests of one signature of one version.

    Args:
        signature: that is run.
        config: of the batches.
        executor: threads that run them; TensorFlow releases the interpreter while it computes.
        on_batch: called with the rows of each batch that is run, and the rows that wait behind it.
    """

    def __init__(
        self, signature: Signature, config: BatchingConfig, executor: Executor, on_batch: Callable[[int, int], None]
    ) -> None:
        self._signature, self._config, self._executor, self._on_batch = signature, config, executor, on_batch
        self._queue: collections.deque[_Waiting] = collections.deque()
        self._queued_rows = 0
        self._running = 0
        self._timer: asyncio.TimerHandle | None = None

    async def call(self, arrays: _Arrays, rows: int, deadline: float | None = None) -> dict[str, np.ndarray]:
        """Returns the outputs of a request.

        Args:
            arrays: inputs of `Signature.checked`.
            rows: their number of rows.
            deadline: on `time.monotonic`'s clock, after which nobody waits for the answer.

        Raises:
            Overloaded: as many batches wait as may.
            DeadlineExceeded: the deadline passed before the request was run.
            InvalidRequest: the inputs do not fit the model.
        """
        limit = self._config.max_batch_size
        if not self._signature.batches or rows == 0:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._signature.run, arrays)
        if self._queued_rows + rows > limit * self._config.max_enqueued_batches and self._queue:
            raise Overloaded(f"{len(self._queue)} requests of {self._queued_rows} rows wait already; try again later")
        if rows <= limit or not self._signature.pads:
            return await self._enqueue(arrays, rows, deadline)
        parts = [
            self._enqueue({name: a[at : at + limit] for name, a in arrays.items()}, min(limit, rows - at), deadline)
            for at in range(0, rows, limit)
        ]
        answers = await asyncio.gather(*parts)
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def _enqueue(self, arrays: _Arrays, rows: int, deadline: float | None) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._queue.append(_Waiting(arrays, rows, deadline, answer))
        self._queued_rows += rows
        if self._queued_rows >= self._config.max_batch_size:
            self._start()
        elif self._timer is None and self._running < self._config.num_batch_threads:
            self._timer = loop.call_later(self._config.batch_timeout_micros / 1e6, self._timed_out)
        return answer

    def _timed_out(self) -> None:
        self._timer = None
        self._start()

    def _start(self) -> None:
        """Runs batches while there are requests and free threads."""
        while self._queue and self._running < self._config.num_batch_threads:
            batch = self._next_batch()
            if batch:
                self._running += 1
                task = asyncio.get_running_loop().run_in_executor(self._executor, self._run, batch)
                task.add_done_callback(lambda done, batch=batch: self._ended(batch, done))  # type: ignore[misc]

    def _next_batch(self) -> list[_Waiting]:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now, rows, batch = time.monotonic(), 0, list[_Waiting]()
        while self._queue and (not batch or rows + self._queue[0].rows <= self._config.max_batch_size):
            if batch and not _joins(batch[0].arrays, self._queue[0].arrays):
                break
            waiting = self._queue.popleft()
            self._queued_rows -= waiting.rows
            if waiting.expired(now):
                if not waiting.answer.done():
                    waiting.answer.set_exception(DeadlineExceeded("the deadline passed while the request waited"))
                continue
            batch.append(waiting)
            rows += waiting.rows
        return batch

    def _run(self, batch: list[_Waiting]) -> list[Any]:
        """In a thread: one answer a request, or the error that it alone met."""
        rows = sum(waiting.rows for waiting in batch)
        self._on_batch(rows, self._queued_rows)
        try:
            return self._parted(batch, self._signature.run(self._joined(batch, rows)))
        except Exception as error:
            if len(batch) == 1:
                return [error]
        # One request's fault must not be another's: each is run by itself.
        answers: list[Any] = []
        for waiting in batch:
            try:
                answers.append(self._signature.run(waiting.arrays))
            except Exception as error:
                answers.append(error)
        return answers

    def _joined(self, batch: list[_Waiting], rows: int) -> dict[str, np.ndarray]:
        missing = self._config.padded(rows) - rows if self._signature.pads else 0
        joined = {}
        for name in batch[0].arrays:
            parts = [waiting.arrays[name] for waiting in batch]
            if missing > 0:
                # Copies of a real row: of any value that was made up the model might make an error.
                parts.append(np.repeat(parts[0][:1], missing, axis=0))
            joined[name] = np.concatenate(parts) if len(parts) > 1 else parts[0]
        return joined

    def _parted(self, batch: list[_Waiting], outputs: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        answers, at = [], 0
        for waiting in batch:
            answers.append({name: value[at : at + waiting.rows] for name, value in outputs.items()})
            at += waiting.rows
        return answers

    def _ended(self, batch: list[_Waiting], done: asyncio.Future[Any]) -> None:
        self._running -= 1
        error = done.exception()
        for position, waiting in enumerate(batch):
            if waiting.answer.done():
                continue  # the client went away
            answer = error if error is not None else done.result()[position]
            if isinstance(answer, BaseException):
                waiting.answer.set_exception(answer)
            else:
                waiting.answer.set_result(answer)
        self._start()


def _joins(first: _Arrays, other: _Arrays) -> bool:
    return all(array.shape[1:] == other[name].shape[1:] for name, array in first.items())
