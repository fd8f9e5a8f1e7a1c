"""A model's answers to a whole data set, as a data set: what TFX's BulkInferrer does."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from engine.core.errors import ConfigError, DataError, column_not_found
from engine.core.progress import Progress
from engine.dataset.manifest import MANIFEST_NAME, Manifest
from engine.dataset.write import check_output
from engine.formats.registry import format_module
from engine.storage.destination import Destination
from trainers.evaluation.passes.evaluation_pass import (
    NumberedReader,
    cutter_of,
    first_batch,
    fitted,
    numbered_splits,
)
from trainers.export.digest import model_digest
from trainers.export.predict import LoadedModel
from trainers.serving.prediction_pass import PredictionPass, prediction_rows
from transforms.passes.shards import ShardResult, ShardTask

if TYPE_CHECKING:
    from engine.dataset.dataset import DataPaths, Dataset
    from transforms.batches.batch_cutter import BatchCutter

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
    runner: Any = "local",
    runner_options: Sequence[str] = (),
) -> PredictReport:
    """Writes the model's outputs for every row of a data set, in the data's order.

    Args:
        model_dir: SavedModel of `fullpass export`, or the directory of its versions (the newest is taken).
        data: raw data: an `engine.Dataset`, or what `Dataset.open` takes.
        out: directory of the shards, a path or a URI; it appears whole, with a manifest.
        keep: columns of the data that are written beside the outputs, as keys.
        outputs: of the model; none for all.
        format: "parquet" or "tfrecord".
        num_shards: files, of equally many rows; so many tasks are there for workers.
        compression: as `Dataset.write` takes it.
        batch_rows: rows a call of the model; fewer where they do not fit into memory with what the model makes of them.
        runner: "local" (all cores), "flink", "spark" or the name of a Beam runner, whose workers read the model and the data
            and write the shards. The rows are the same on each.
        runner_options: of the runner, each "--KEY=VALUE".

    Raises:
        ConfigError: no such model, output or column; or an output has the name of a kept column.
        DataError: damaged data, or a count that does not match the manifest.
    """
    from engine.dataset.dataset import as_dataset
    from transforms.runners import make_runner
    from transforms.transform import shard_tasks

    keep, outputs = (list(dict.fromkeys([each] if isinstance(each, str) else each)) for each in (keep, outputs))
    destination = Destination(out, MANIFEST_NAME)
    dataset = as_dataset(data)
    destination.check(dataset.paths)
    check_output(format, compression)
    for name, number in (("num_shards", num_shards), ("batch_rows", batch_rows)):
        if number < 1:
            raise ConfigError(f"{name} is {number}; it takes 1 or more")
    backend = make_runner(runner, runner_options)
    model = LoadedModel(model_dir, every_output=True, answered=outputs)
    digest = model_digest(model.path)  # compared again at the end: workers load the model by themselves
    wanted = _wanted(outputs, model.outputs, keep)
    needed = _needed(dataset, model, keep)
    total = dataset.num_records  # counts every file, which the splits then know
    reader = NumberedReader(schema=dataset.schema, columns=tuple(needed), batch_rows=batch_rows)
    splits = numbered_splits(dataset)
    reader = fitted(reader, splits, [model], dataset)
    cut = cutter_of({"model": model})
    schema = _schema(first_batch(reader, splits), dataset, cut, keep, wanted)
    tasks = shard_tasks(splits, num_shards, format, compression, stem="data")
    with destination.fill() as directory:
        plan = PredictionPass(
            model=str(model.path),
            keep=tuple(keep),
            outputs=tuple(wanted),
            schema=schema,
            out=directory,
            format=format,
            compression=compression,
            cut=cut,
        )
        with Progress("predict", total) as progress:
            results = backend.transform(plan, reader, tasks, progress)
        _check(results, tasks, total)
        if model_digest(model.path) != digest:
            raise DataError("changed while it answered; its answers are not used", path=str(model.path))
        manifest = Manifest(tuple(each.entry for each in results), format_module(format).stored_schema(schema))
        manifest.save(directory)
    return PredictReport(rows=total, columns=tuple(schema.names), manifest=manifest)


def _check(results: Sequence[ShardResult], tasks: Sequence[ShardTask], total: int) -> None:
    read, written = (sum(getattr(each, name) for each in results) for name in ("read", "written"))
    if len(results) != len(tasks) or read != total or written != total:
        raise DataError(
            f"prediction read {read:,} rows and wrote {written:,} into {len(results)} of {len(tasks)} shards, the data set has "
            f"{total:,}; its result is not used"
        )


def _schema(
    first: pa.RecordBatch | None, dataset: Dataset, cut: BatchCutter, keep: Sequence[str], outputs: Sequence[str]
) -> pa.Schema:
    """The columns that the first rows' answers make: outputs of a model need not say their shapes."""
    if first is None:
        raise DataError("has no rows; there is nothing to predict", path=dataset.paths[0] if dataset.paths else "")
    piece, answers = next(iter(cut(first)))
    return prediction_rows(piece, answers["model"], keep, outputs).schema


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
