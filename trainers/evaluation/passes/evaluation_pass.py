"""The pass as runners take it: each split is answered and added up by itself, and merged in the order of the splits."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine.core.errors import DataError
from engine.schema.metadata_keys import PLACE
from trainers.evaluation.passes.plan import TallyPlan
from trainers.evaluation.passes.tally import Tally
from transforms.batches.batch_cutter import DEFAULT_MEMORY_BYTES, BatchCutter, reader_rows

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = [
    "Answers",
    "EvaluationPass",
    "NumberedReader",
    "NumberedSplit",
    "answered",
    "answers_of",
    "cutter_of",
    "first_batch",
    "fitted",
    "located",
    "numbered_splits",
]

Answers = Mapping[str, Mapping[str, np.ndarray]]  # of each role, by output

_ROW = "fullpass.row"  # the number of each row in the data, beside its columns
_SPLITS = 32  # that small data are cut into, whatever the machine: intervals must not depend on its cores
_LEAST_BYTES, _MOST_BYTES = 4 << 20, 64 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberedSplit:
    """A split with the number of its first row.

    Attributes:
        split: of the data.
        first: number that no row of another split has, nor of this one but its first.
    """

    split: Any
    first: int

    @property
    def path(self) -> str:
        """File or URI."""
        return str(self.split.path)

    @property
    def records(self) -> int | None:
        """Number of records where it is known."""
        return None if self.split.records is None else int(self.split.records)


def numbered_splits(dataset: Dataset) -> list[NumberedSplit]:
    """Returns the splits of a data set; rows have the numbers of their order where all splits know how many they have."""
    target = min(max(dataset.size_bytes // _SPLITS, _LEAST_BYTES), _MOST_BYTES)
    splits = dataset.splits(target)
    known = all(split.records is not None for split in splits)
    firsts = np.cumsum([0, *(split.records for split in splits)]) if known else np.arange(len(splits)) << 40
    return [NumberedSplit(split=split, first=int(first)) for split, first in zip(splits, firsts)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberedReader:
    """Reads splits with the number of each row in a column of its own; picklable.

    Attributes:
        schema: Arrow schema of the data set.
        columns: columns to read.
        batch_rows: rows a call of the model.
    """

    schema: pa.Schema
    columns: tuple[str, ...]
    batch_rows: int

    def read(self, numbered: NumberedSplit) -> Iterator[pa.RecordBatch]:
        """Yields the batches of a split."""
        from engine import read_split

        before, split = 0, numbered.split
        first = split.first_record if split.start else 0
        for batch in read_split(split, self.schema, batch_rows=self.batch_rows, columns=list(self.columns)):
            place = {"path": str(split.path), "record": first, "row": numbered.first}
            fields = [*(batch.schema.field(i) for i in range(batch.num_columns)), pa.field(_ROW, pa.int64())]
            schema = pa.schema(fields, {PLACE: json.dumps(place)})
            ids = numbered.first + before + np.arange(batch.num_rows)
            yield pa.RecordBatch.from_arrays([*batch.columns, pa.array(ids)], schema=schema)
            before += batch.num_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationPass:
    """All that a worker needs.

    Attributes:
        plan: what is added up.
        models: role to (SavedModel, output or None).
        loaded: the models of this process, which no other gets.
        cut: gives them batches, and has measured the first rows; no other process gets it either.
    """

    plan: TallyPlan
    models: Mapping[str, tuple[str, str | None]]
    loaded: Mapping[str, Any] | None = dataclasses.field(default=None, compare=False)
    cut: BatchCutter | None = dataclasses.field(default=None, compare=False)
    holds_lock: bool = False  # TensorFlow and numpy's sorting work without it
    portable: bool = False  # the models are loaded here

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "loaded": None, "cut": None}

    def open(self) -> OpenEvaluation:
        """Returns the pass ready to run in this process."""
        return OpenEvaluation(self)

    def merge(self, key: tuple[int, int], blobs: Sequence[bytes | memoryview]) -> bytes | memoryview:
        """Returns the sums of all splits, merged in their order."""
        if len(blobs) == 1:
            return blobs[0]
        total = Tally.decode(self.plan, blobs[0])
        for blob in blobs[1:]:
            total.merge(Tally.decode(self.plan, blob))
        return total.encode()


class OpenEvaluation:
    """A pass in a worker; `accumulate` may run in several threads.

    Args:
        plan: the pass.
    """

    carries = False

    def __init__(self, plan: EvaluationPass) -> None:
        from trainers.export.predict import LoadedModel

        self._plan = plan.plan
        self._models = plan.loaded or {
            role: LoadedModel(path, output, every_output=True) for role, (path, output) in plan.models.items()
        }
        # The same for the first rows and for all: memory that one has taken hides from another what rows take.
        self._cut = plan.cut or cutter_of(self._models)

    def after_measuring(self, call: Callable[[], None]) -> None:
        """Has `call` be called when the memory of the first rows is known."""
        self._cut.on_measured = call

    def accumulate(self, batches: Iterable[pa.RecordBatch]) -> Tally:
        """Returns the sums of a split's batches."""
        tally = Tally(self._plan)
        for batch in batches:
            for piece, answers in answered(self._cut, batch):
                try:
                    tally.add(piece, self._models, answers, piece.column(_ROW).to_numpy())
                except DataError as error:
                    raise located(error, piece) from None
        return tally

    def encode(self, tally: Tally) -> dict[tuple[int, int], bytes | memoryview]:
        """Returns the one part of a split."""
        return {(0, 0): tally.encode()}

    def close(self) -> None:
        """Nothing is held but the models, which the process may need again."""


def first_batch(reader: NumberedReader, splits: Sequence[NumberedSplit]) -> pa.RecordBatch | None:
    """Returns the first rows of a data set, or None where it has no row."""
    return next((batch for split in splits for batch in reader.read(split) if batch.num_rows), None)


def answers_of(models: Mapping[str, Any], batch: pa.RecordBatch) -> Answers:
    """Returns the answers of each model to a numbered batch.

    Raises:
        DataError: bad data, with its file and record.
    """
    try:
        return {role: model.answers(batch) for role, model in models.items()}
    except DataError as error:
        raise located(error, batch) from None


def answered(cut: BatchCutter, batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, Answers]]:
    """Yields the slices of a numbered batch with the models' answers.

    Raises:
        DataError: bad data, or a record that takes more memory than there is, with its file and record.
    """
    done = 0
    try:
        for piece, answers in cut(batch):
            yield piece, answers
            done += piece.num_rows
    except DataError as error:
        if error.path is not None or error.record is not None:
            raise
        raise located(DataError(error.message, record=0), batch.slice(done)) from None  # that the cutter could not run


def cutter_of(models: Mapping[str, Any]) -> BatchCutter:
    """Returns what gives batches to models in slices that fit into memory, whatever a row becomes within them, with their answers."""
    return BatchCutter(functools.partial(answers_of, models), DEFAULT_MEMORY_BYTES)


def fitted(
    reader: NumberedReader, splits: Sequence[NumberedSplit], models: Iterable[Any], dataset: Dataset
) -> NumberedReader:
    """Returns the reader with batches that fit into memory with the models' answers: of a million classes a row has 4 MB.

    Raises:
        DataError: bad data in the first row, where that is asked for.
    """
    rows = reader_rows(reader.batch_rows, dataset.size_bytes, dataset.num_records, DEFAULT_MEMORY_BYTES)

    def row() -> pa.RecordBatch | None:
        return first_batch(dataclasses.replace(reader, batch_rows=1), splits)

    try:
        return dataclasses.replace(reader, batch_rows=min(m.rows_a_call(rows, row) for m in models))
    except DataError as error:
        first = row()
        raise error if first is None else located(error, first) from None


def located(error: DataError, batch: pa.RecordBatch) -> DataError:
    """Returns the error with its file and record, where it knows the row of a numbered batch, or of a slice of one, alone."""
    place = json.loads((batch.schema.metadata or {}).get(PLACE, b"{}"))
    if error.path is not None or not place:
        return error
    if error.record is None or place["record"] is None:
        return DataError(error.message, path=place["path"])
    record = place["record"] + batch.column(_ROW)[error.record].as_py() - place["row"]
    return DataError(error.message, path=place["path"], record=record)
