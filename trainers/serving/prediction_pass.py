"""The pass that writes predictions: what a worker does for one shard, the same on every runner."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError
from trainers.evaluation.passes.evaluation_pass import cutter_of
from transforms.batches.batch_cutter import BatchCutter
from transforms.passes.shards import ShardResult, ShardTask, pieces_of, write_shard

__all__ = ["OpenPrediction", "PredictionPass", "prediction_rows"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionPass:
    """All that a worker needs to write predictions; picklable.

    Attributes:
        model: the SavedModel, local or a URI.
        keep: columns of the data.
        outputs: of the model.
        schema: of the shards.
        out: directory of the shards, local or a URI.
        format: "parquet" or "tfrecord".
        compression: of the shards, or None.
        cut: gives batches to the model of this process, and has measured the first rows; no other process gets it.
    """

    model: str
    keep: tuple[str, ...]
    outputs: tuple[str, ...]
    schema: pa.Schema
    out: str
    format: str
    compression: str | None
    cut: BatchCutter | None = dataclasses.field(default=None, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "cut": None}

    def open(self) -> OpenPrediction:
        """Returns the pass ready to run in this process."""
        return OpenPrediction(self)


class OpenPrediction:
    """A pass in a worker; `run` may be called from several threads.

    Args:
        plan: the pass.
    """

    def __init__(self, plan: PredictionPass) -> None:
        from trainers.export.predict import LoadedModel

        self._plan = plan
        self._cut = plan.cut or cutter_of({"model": LoadedModel(plan.model, every_output=True, answered=plan.outputs)})

    def after_measuring(self, call: Callable[[], None]) -> None:
        """Has `call` be called when the memory of the first rows is known."""
        self._cut.on_measured = call

    def run(
        self, task: ShardTask, reader: Any, watch: Callable[[Iterator[Any]], Iterator[Any]] = lambda batches: batches
    ) -> ShardResult:
        """Writes the shard of a task.

        Args:
            task: what to write.
            reader: `NumberedReader`.
            watch: wraps the iterator of batches, to count them.

        Raises:
            DataError: bad data, with its file and record; or a file that does not hold what was written to it.
        """
        return write_shard(self._plan, task, watch(pieces_of(task, reader)), self._rows)

    def _rows(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        for piece, answers in self._cut(batch):
            rows = prediction_rows(piece, answers["model"], self._plan.keep, self._plan.outputs)
            for name in self._plan.outputs:
                found, first = (schema.field(name).type for schema in (rows.schema, self._plan.schema))
                if found != first:
                    raise ConfigError(
                        f"output {name!r} is {found} a row here and {first} in the first rows; predictions have equally many values in "
                        "each row: have the model give as many whatever the other rows of a batch are, or leave it out by naming the "
                        "other outputs"
                    )
            yield rows

    def close(self) -> None:
        """Nothing is held but the model, which the process may need again."""


def prediction_rows(
    batch: pa.RecordBatch, answers: Mapping[str, np.ndarray], keep: Sequence[str], outputs: Sequence[str]
) -> pa.RecordBatch:
    """Returns the kept columns of a batch with the model's answers to it.

    Args:
        batch: raw rows.
        answers: output to values [n, ...].
        keep: columns of the batch.
        outputs: those that are taken.

    Raises:
        ConfigError: an output of a type that no column has, complex numbers or ragged values, or without any value in a row.
    """
    arrays = [batch.column(name) for name in keep] + [_column(name, answers[name]) for name in outputs]
    kept = [batch.schema.field(name) for name in keep]
    fields = [*kept, *(pa.field(name, array.type, False) for name, array in zip(outputs, arrays[len(keep) :]))]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _column(name: str, values: np.ndarray) -> pa.Array:
    """One value a row, or a list of one length; a column of a single value is not a list."""
    try:
        return _array(values)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError):
        raise ConfigError(
            f"output {name!r} is {list(values.shape)} of {values.dtype}, which no column of predictions holds; leave it out by naming "
            "the other outputs"
        ) from None


def _array(values: np.ndarray) -> pa.Array:
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    kind = pa.binary() if values.dtype == object else None
    leaves = pa.array(flat.reshape(-1).tolist() if kind else np.ascontiguousarray(flat.reshape(-1)), kind)
    return leaves if flat.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(leaves, flat.shape[1])
