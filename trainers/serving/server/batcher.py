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
from trainers.serving.server.packed import Packed, Spans, arrays_of, joined
from trainers.serving.server.signatures import Signature

__all__ = ["Batcher", "Waiting"]

_Arrays = Mapping[str, Any]
_LATE = "the deadline passed while the request waited"


class Waiting:
    """A request, or a part of one, that waits for its answer.

    Attributes:
        inputs: arrays by name, or what was read natively.
        rows: of it.
        deadline: on `time.monotonic`'s clock, after which nobody waits for the answer; None waits for ever.
    """

    __slots__ = ("deadline", "inputs", "rows")

    def __init__(self, inputs: _Arrays | Packed, rows: int, deadline: float | None) -> None:
        self.inputs, self.rows, self.deadline = inputs, rows, deadline

    @property
    def gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        raise NotImplementedError

    def finish(self, answer: Any) -> None:
        """Takes the answer, or the error that is in its place; called once, in the event loop."""
        raise NotImplementedError

    @staticmethod
    def write(outputs: Mapping[str, np.ndarray], spans: Spans) -> list[bytes] | None:
        """Returns the bytes of an answer for each span of rows of a batch; None where answers are arrays by name."""
        return None

    def expired(self, now: float) -> bool:
        """Whether it need not be run."""
        return self.gone or (self.deadline is not None and now > self.deadline)


class _Awaited(Waiting):
    """One whose answer a coroutine awaits."""

    __slots__ = ("answer",)

    def __init__(self, inputs: _Arrays, rows: int, deadline: float | None) -> None:
        super().__init__(inputs, rows, deadline)
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @property
    def gone(self) -> bool:
        return self.answer.done()

    def finish(self, answer: Any) -> None:
        if self.answer.done():
            return  # the client went away
        if isinstance(answer, BaseException):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


class _OtherRows(Exception):
    """An output has not one row for each row of the inputs, or a size that their values make: each request is run by itself."""


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
        self._queue: collections.deque[Waiting] = collections.deque()
        self._queued_rows = 0
        self._running = 0
        self._alone = 0
        self._apart = (
            False  # sizes of its outputs were seen to be made of the values: no requests are joined from then on
        )
        self._waiting_alone: dict[object, int] = {}  # rows
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
        if (
            not self._config.enable_batching
            or not self._signature.batches
            or rows == 0
            or (self._apart and rows > limit)
        ):
            return await self._call_alone(arrays, rows, deadline)
        self._signature.check_joins(arrays)
        self._check_room(rows)
        if rows <= limit or not self._signature.pads:
            parts = [_Awaited(arrays, rows, deadline)]
        else:
            parts = [
                _Awaited({name: a[at : at + limit] for name, a in arrays.items()}, min(limit, rows - at), deadline)
                for at in range(0, rows, limit)
            ]
        for part in parts:
            self._enqueue(part)
        answers = await asyncio.gather(*(part.answer for part in parts))
        if len(answers) == 1:
            return answers[0]  # type: ignore[no-any-return]
        if self._apart:  # seen by now
            return await self._call_alone(arrays, rows, deadline)
        sizes = [{name: value.shape[1:] for name, value in answer.items()} for answer in answers]
        if any(size != sizes[0] or not _of_rows(answer, p.rows) for size, answer, p in zip(sizes, answers, parts)):
            return await self._call_alone(arrays, rows, deadline)  # each part's answer is of its own rows together
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    async def _call_alone(self, arrays: _Arrays, rows: int, deadline: float | None) -> dict[str, np.ndarray]:
        if self._alone >= self._config.num_batch_threads + self._config.max_enqueued_batches:
            raise Overloaded(f"{self._alone} requests, each run by itself, are not answered yet; try again later")
        self._alone += 1
        request = object()
        self._waiting_alone[request] = rows
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, self._run_alone, request, arrays, deadline)
        finally:
            self._alone -= 1
            self._waiting_alone.pop(request, None)  # of one whose client went away

    def _run_alone(self, request: object, arrays: _Arrays, deadline: float | None) -> dict[str, np.ndarray]:
        rows = self._waiting_alone.pop(request, 0)
        if deadline is not None and time.monotonic() > deadline:
            raise DeadlineExceeded(_LATE)
        self._on_batch(rows, sum(list(self._waiting_alone.values())))
        return self._signature.run(arrays)

    def submit(self, waiting: Waiting) -> None:
        """Takes a request of at most `max_batch_size` rows of a signature that batches; its `finish` is called with the answer.

        Raises:
            Overloaded: as many batches wait as may.
        """
        self._check_room(waiting.rows)
        self._enqueue(waiting)

    def _check_room(self, rows: int) -> None:
        room = self._config.max_batch_size * self._config.max_enqueued_batches
        if self._queue and self._queued_rows + rows > room:
            raise Overloaded(f"{len(self._queue)} requests of {self._queued_rows} rows wait already; try again later")

    def _enqueue(self, waiting: Waiting) -> None:
        self._queue.append(waiting)
        self._queued_rows += waiting.rows
        if self._queued_rows >= self._config.max_batch_size:
            self._start()
        elif self._timer is None and self._running < self._config.num_batch_threads:
            self._timer = asyncio.get_running_loop().call_later(
                self._config.batch_timeout_micros / 1e6, self._timed_out
            )

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

    def _next_batch(self) -> list[Waiting]:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now, rows, batch = time.monotonic(), 0, list[Waiting]()
        while self._queue and (not batch or rows + self._queue[0].rows <= self._config.max_batch_size):
            if batch and (self._apart or not _joins(batch[0], self._queue[0])):
                break
            waiting = self._queue.popleft()
            self._queued_rows -= waiting.rows
            if waiting.expired(now):
                waiting.finish(DeadlineExceeded(_LATE))
                continue
            batch.append(waiting)
            rows += waiting.rows
        return batch

    def _run(self, batch: list[Waiting]) -> list[Any]:
        """In a thread: one answer a request, or the error that it alone met."""
        rows = sum(waiting.rows for waiting in batch)
        self._on_batch(rows, self._queued_rows)
        try:
            return self._answers(batch, rows, pad=self._signature.pads and not self._apart)
        except _OtherRows:
            pass
        except Exception as error:
            if len(batch) == 1:
                return [error]
        # One request's fault must not be another's: each is run by itself.
        answers: list[Any] = []
        for waiting in batch:
            try:
                answers += self._answers([waiting], waiting.rows, pad=False)
            except Exception as error:
                answers.append(error)
        return answers

    def _answers(self, batch: list[Waiting], rows: int, *, pad: bool) -> list[Any]:
        padded = self._config.padded(rows) if pad else rows
        native = [waiting.inputs for waiting in batch if isinstance(waiting.inputs, Packed)]
        inputs = joined(native, padded) if len(native) == len(batch) else _concatenated(batch, padded - rows)
        outputs = self._signature.run(inputs)
        self._apart = self._apart or not self._signature.sizes_are_given(inputs, outputs)
        if len(batch) == 1 and padded == rows:
            return _parted(batch, outputs) if _of_rows(outputs, rows) else [outputs]
        if self._apart or not _of_rows(outputs, padded):
            raise _OtherRows
        return _parted(batch, outputs)

    def _ended(self, batch: list[Waiting], done: asyncio.Future[Any]) -> None:
        self._running -= 1
        error = done.exception()
        for position, waiting in enumerate(batch):
            waiting.finish(error if error is not None else done.result()[position])
        self._start()


def _of_rows(outputs: Mapping[str, np.ndarray], rows: int) -> bool:
    return all(value.shape[:1] == (rows,) for value in outputs.values())


def _parted(batch: list[Waiting], outputs: dict[str, np.ndarray]) -> list[Any]:
    """One answer a request: as it is written natively, else the rows of each output."""
    answers: list[Any] = [None] * len(batch)
    by_kind: dict[type[Waiting], list[tuple[int, tuple[int, int]]]] = {}
    at = 0
    for position, waiting in enumerate(batch):
        by_kind.setdefault(type(waiting), []).append((position, (at, at + waiting.rows)))
        at += waiting.rows
    for kind, parts in by_kind.items():
        texts = kind.write(outputs, [span for _, span in parts])
        for index, (position, (first, last)) in enumerate(parts):
            if texts is None:
                answers[position] = {name: value[first:last] for name, value in outputs.items()}
            else:
                answers[position] = texts[index]
    return answers


def _concatenated(batch: list[Waiting], missing: int) -> dict[str, np.ndarray]:
    parts = [_arrays(waiting) for waiting in batch]
    out = {}
    for name in parts[0]:
        arrays = [part[name] for part in parts]
        if missing > 0:
            # Copies of a real row: of any value that was made up the model might make an error.
            arrays.append(np.repeat(arrays[0][:1], missing, axis=0))
        out[name] = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    return out


def _arrays(waiting: Waiting) -> Mapping[str, np.ndarray]:
    return arrays_of(waiting.inputs) if isinstance(waiting.inputs, Packed) else waiting.inputs


def _joins(first: Waiting, other: Waiting) -> bool:
    if isinstance(first.inputs, Packed) and isinstance(other.inputs, Packed):
        return bool(first.inputs.joins(other.inputs))
    others = _arrays(other)
    return all(array.shape[1:] == others[name].shape[1:] for name, array in _arrays(first).items())
