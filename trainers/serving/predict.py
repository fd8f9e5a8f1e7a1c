"""A model's answers to a whole data set, as a data set: what TFX's BulkInferrer does."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError, DataError, column_not_found
from engine.core.progress import Progress
from engine.dataset.manifest import MANIFEST_NAME, Manifest
from engine.dataset.shards import ShardSet
from engine.storage.destination import Destination
from trainers.export.predict import LoadedModel

if TYPE_CHECKING:
    from engine.dataset.dataset import DataPaths, Dataset

__all__ = ["PredictReport", "predict"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictReport:
    """What `predict` wrote.

    Attributes:
        rows: as many as the data set has.
        columns: of the result.
        manifest: of the shards.
    """

    rows: int
    columns: tuple[str, ...]
    manifest: Manifest


def predict(
    model_dir: str | os.PathLike[str],
    data: Dataset | DataPaths,
    out: str | os.PathLike[str],
    *,
    keep: Sequence[str] = (),
    outputs: Sequence[str] = (),
    format: str = "parquet",
    num_shards: int = 16,
    compression: str | None = None,
    batch_rows: int = 16384,
) -> PredictReport:
    """Writes the model's outputs for every row of a data set, in the data's order.

    Args:
        model_dir: SavedModel of `fullpass export`, or the directory of its versions (the newest is taken).
        data: raw data: an `engine.Dataset`, or what `Dataset.open` takes.
        out: directory of the shards, a path or a URI; it appears whole, with a manifest.
        keep: columns of the data that are written beside the outputs, as keys.
        outputs: of the model; none for all.
        format: "parquet" or "tfrecord".
        num_shards: files.
        compression: as `Dataset.write` takes it.
        batch_rows: rows a call of the model.

    Raises:
        ConfigError: no such model, output or column; or an output has the name of a kept column.
        DataError: damaged data, or a count that does not match the manifest.
    """
    from engine.dataset.dataset import as_dataset

    destination = Destination(out, MANIFEST_NAME)
    dataset = as_dataset(data)
    destination.check(dataset.paths)
    model = LoadedModel(model_dir, every_output=True)
    wanted = _wanted(outputs, model.outputs, keep)
    needed = _needed(dataset, model, keep)
    total, written = dataset.num_records, 0
    with destination.fill() as directory, Progress("predict", total) as progress:
        shards: ShardSet | None = None
        for batch in dataset.read_batches(batch_rows=batch_rows, columns=needed):
            if not batch.num_rows:
                continue
            rows = _rows(batch, keep, model.answers(batch), wanted)
            if shards is None:
                shards = ShardSet(
                    directory,
                    rows.schema,
                    format=format,
                    compression=compression,
                    num_shards=num_shards,
                    num_records=total,
                ).__enter__()
            try:
                shards.push(rows)
            except BaseException as error:
                shards.__exit__(type(error), error, error.__traceback__)
                raise
            written += batch.num_rows
            progress.advance(batch.num_rows)
        if shards is None:
            raise DataError("has no rows; there is nothing to predict", path=dataset.paths[0] if dataset.paths else "")
        manifest = Manifest(tuple(shards.finish()), rows.schema)
        manifest.save(directory)
    if written != total:
        raise DataError(f"prediction read {written:,} rows, the data set has {total:,}; its result is not used")
    return PredictReport(rows=written, columns=tuple(rows.schema.names), manifest=manifest)


def _wanted(asked: Sequence[str], there: Sequence[str], keep: Sequence[str]) -> list[str]:
    unknown = [name for name in asked if name not in there]
    if unknown:
        raise ConfigError(f"output {unknown[0]!r} not found; the model has {', '.join(there)}")
    wanted = list(asked) or list(there)
    doubled = [name for name in wanted if name in keep]
    if doubled:
        raise ConfigError(f"{doubled[0]!r} is both a kept column and an output of the model; keep another column")
    return wanted


def _needed(dataset: Dataset, model: LoadedModel, keep: Sequence[str]) -> list[str]:
    needed = list(dict.fromkeys([*model.columns([]), *keep]))
    for name in needed:
        if name not in dataset.schema.names:
            raise ConfigError(column_not_found([name], dataset.schema.names))
    return needed


def _rows(
    batch: pa.RecordBatch, keep: Sequence[str], answers: Mapping[str, np.ndarray], wanted: Sequence[str]
) -> pa.RecordBatch:
    arrays = [batch.column(name) for name in keep] + [_column(answers[name]) for name in wanted]
    kept = [batch.schema.field(name) for name in keep]
    fields = [*kept, *(pa.field(name, array.type, False) for name, array in zip(wanted, arrays[len(keep) :]))]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _column(values: np.ndarray) -> pa.Array:
    """One value a row, or a list of one length; a column of a single value is not a list."""
    flat = values.reshape(len(values), -1)
    kind = pa.binary() if values.dtype == object else None
    leaves = pa.array(flat.reshape(-1).tolist() if kind else np.ascontiguousarray(flat.reshape(-1)), kind)
    return leaves if flat.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(leaves, flat.shape[1])
