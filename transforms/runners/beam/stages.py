"""The DoFns of passes on Beam."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from engine.core.errors import DataError, FullpassError
from engine.storage.atomic import atomic_file, write_if_room
from transforms.passes.protocols import AccumulatePass, WritePass
from transforms.passes.shards import ShardTask
from transforms.runners.base import BatchReader
from transforms.runners.error_notes import error_from_note, error_note
from transforms.runners.exchange import write_parts

__all__ = ["AccumulateSplit", "MergeParts", "WriteShard", "key_of", "noted_error", "noting_errors", "rows_done"]

KEYS = 64  # keys that all parts are spread over: enough for the workers of a large cluster, few for Beam
_ROWS = -1  # stands for an analyzer where a split's record count travels


def key_of(analyzer: int, part: int) -> int:
    """Returns the key that a part is grouped by."""
    return (analyzer * 31 + part * 7919) % KEYS


def rows_done(directory: str) -> int:
    """Returns the records of the splits that workers have finished so far."""
    total = 0
    for name in os.listdir(directory):
        if name.startswith("rows-"):
            with contextlib.suppress(OSError, ValueError):
                with open(os.path.join(directory, name)) as file:
                    total += int(file.read() or 0)
    return total


def _note_rows(directory: str, index: int, rows: int) -> None:
    """Adds to `rows_done`, for a progress bar: a disk that is full or read-only ends no pass."""
    write_if_room(os.path.join(directory, f"rows-{index}"), str(rows).encode())


@contextlib.contextmanager
def noting_errors(directory: str) -> Iterator[None]:
    """Keeps what a worker raised for the driver: runners wrap it in pages of Java, or lose it."""
    try:
        yield
    except Exception as error:
        kept = error if isinstance(error, FullpassError) else FullpassError(f"{type(error).__name__}: {error}")
        with contextlib.suppress(Exception), atomic_file(os.path.join(directory, "error")) as path:
            path.write_text(json.dumps(error_note(kept)))
        raise


def noted_error(directory: str) -> FullpassError | None:
    """Returns the last error that a worker kept, or None.

    As JSON, never a pickle: the directory is shared by all workers of the cluster, and whoever may write there must not have
    code run in the driver.
    """
    hostile = (OSError, ValueError, RecursionError)
    with contextlib.suppress(*hostile), open(os.path.join(directory, "error"), encoding="utf-8") as file:
        found = error_from_note(json.load(file))
        return found if isinstance(found, FullpassError) else None
    return None


class AccumulateSplit(beam.DoFn):
    """Reads a split, accumulates all analyzers, and gives the encoded parts by key.

    Args:
        plan: the pass.
        reader: reads splits.
        directory: shared by driver and workers.
    """

    def __init__(self, plan: AccumulatePass, reader: BatchReader, directory: str) -> None:
        self._plan, self._reader, self._directory = plan, reader, directory
        self._opened: Any = None

    def setup(self) -> None:
        """Opens the pass once a worker."""
        with noting_errors(self._directory):
            self._opened = self._plan.open()

    def process(self, element: tuple[int, Any]) -> Iterator[tuple[int, list[tuple[int, int, int, bytes]]]]:
        """Yields (key, [(analyzer, part, split, blob)])."""
        index, split = element
        with noting_errors(self._directory):
            state = self._opened.accumulate(self._reader.read(split))
        grouped: dict[int, list[tuple[int, int, int, bytes]]] = {0: [(_ROWS, state.rows, index, b"")]}
        for (analyzer, part), blob in self._opened.encode(state).items():
            grouped.setdefault(key_of(analyzer, part), []).append((analyzer, part, index, bytes(blob)))
        _note_rows(self._directory, index, state.rows)
        yield from grouped.items()

    def teardown(self) -> None:
        """Frees the pass."""
        if self._opened is not None:
            self._opened.close()


class MergeParts(beam.DoFn):
    """Merges the parts of a key in the order of splits and writes them to a file for the driver.

    Args:
        plan: the pass.
        directory: shared by driver and workers.
    """

    def __init__(self, plan: AccumulatePass, directory: str) -> None:
        self._plan, self._directory = plan, directory

    def process(self, element: tuple[int, Iterable[list[tuple[int, int, int, bytes]]]]) -> Iterator[int]:
        """Yields the key once its file is committed.

        Raises:
            DataError: the runner gave a split or a part twice.
        """
        key, lists = element
        blobs: dict[tuple[int, int], dict[int, bytes]] = {}
        rows: dict[int, int] = {}
        for each in lists:
            for analyzer, part, split, blob in each:
                if analyzer == _ROWS:
                    if split in rows:
                        raise DataError(f"the runner gave split {split} twice")
                    rows[split] = part
                elif split in blobs.setdefault((analyzer, part), {}):
                    raise DataError(f"the runner gave part {part} of analyzer {analyzer} of split {split} twice")
                else:
                    blobs[analyzer, part][split] = blob
        merged = (
            (at[0], at[1], self._plan.merge(at, [found[split] for split in sorted(found)]))
            for at, found in blobs.items()
        )
        with noting_errors(self._directory):
            write_parts(self._directory, f"key-{key}", merged, rows)
        yield key


class WriteShard(beam.DoFn):
    """Writes one shard of a transformation, or of predictions.

    Args:
        plan: the pass.
        reader: reads splits.
        directory: shared by driver and workers; it gets a file a finished task.
    """

    def __init__(self, plan: WritePass, reader: BatchReader, directory: str) -> None:
        self._plan, self._reader, self._directory = plan, reader, directory
        self._opened: Any = None

    def setup(self) -> None:
        """Opens the pass once a worker."""
        with noting_errors(self._directory):
            self._opened = self._plan.open()

    def process(self, task: ShardTask) -> Iterator[int]:
        """Yields the index of the shard once it is committed."""
        with noting_errors(self._directory):
            result = self._opened.run(task, self._reader)
        with atomic_file(os.path.join(self._directory, f"task-{task.index}")) as path:
            path.write_text(json.dumps(result.to_json()))
        _note_rows(self._directory, task.index, result.read)
        yield task.index

    def teardown(self) -> None:
        """Frees the pass."""
        if self._opened is not None:
            self._opened.close()
