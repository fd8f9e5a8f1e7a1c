"""ingest: source files, joined by the user's hook, to shards of a train and an eval split."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.pipeline.config import IngestConfig, Pipeline
from cluster.pipeline.step import Counts, Step, StepContext, StepResult
from engine.core.errors import ConfigError, DataError

__all__ = ["STEP"]

_SPLITS = ("train", "eval")


def _run(context: StepContext) -> StepResult:
    config = context.pipeline.ingest
    assert config is not None
    staging = context.out / "staging"
    try:
        counts, schema = _stage(context.pipeline, config, staging)
        for format in config.formats:
            for split in _SPLITS:
                _write(staging / f"{split}.parquet", schema, context.out / format / split, format, config)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    main = config.formats[0]
    rows = sum(counts[split] for split in _SPLITS)
    return StepResult(
        counts=Counts(rows_in=counts["in"], rows_out=rows, set_aside=counts["aside"]),
        outputs={split: f"{main}/{split}" for split in _SPLITS},
        notes=(
            f"train {counts['train']:,} + eval {counts['eval']:,} rows, each as {', '.join(config.formats)} "
            f"in {config.num_shards} shards",
            *(f"{text}; a type in [ingest.types] makes such a value an error" for text in counts["text_columns"]),
        ),
        info={**{split: counts[split] for split in _SPLITS}, "text_columns": counts["text_columns"]},
    )


def _stage(pipeline: Pipeline, config: IngestConfig, staging: Path) -> tuple[dict[str, Any], Any]:
    """Streams the first source through the hook into one file a split; returns the counts and the schema of both."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from engine.core.progress import Progress
    from engine.ingestion.key_split import part_of_rows

    staging.mkdir()
    counts: dict[str, Any] = {"in": 0, "train": 0, "eval": 0, "aside": {}}
    writers: dict[str, pq.ParquetWriter] = {}
    nullable: set[str] = set()
    schema = None
    sources = _open_all(config)
    source = next(iter(sources.values()))
    counts["text_columns"] = [note for each in sources.values() for note in each.notes]
    fractions = {"train": 1 - config.eval_percent / 100, "eval": config.eval_percent / 100}
    with contextlib.ExitStack() as open_files, Progress("ingest", source.num_records) as progress:
        for kept, joined in _batches(pipeline, config, sources, counts):
            if schema is None:
                schema = joined.schema
                for split in _SPLITS:
                    writer = pq.ParquetWriter(staging / f"{split}.parquet", schema, compression="lz4")
                    writers[split] = open_files.enter_context(writer)
            elif joined.schema != schema:
                raise ConfigError(f"{config.hook} gave other columns or types than before: {_changed(schema, joined)}")
            nullable |= {name for name in schema.names if joined.column(name).null_count}
            part = part_of_rows(kept, config.split_key, fractions)
            for index, split in enumerate(_SPLITS):
                rows = joined.filter(pa.array(part == index))
                writers[split].write_batch(rows)
                counts[split] += rows.num_rows
            progress.update(counts["in"])
    for split in _SPLITS:
        if not counts[split]:
            raise DataError(
                f"the {split} split got no row of {counts['in']:,}", path=next(iter(config.sources.values()))
            )
    assert schema is not None
    return counts, pa.schema([field.with_nullable(field.name in nullable) for field in schema])


def _batches(
    pipeline: Pipeline, config: IngestConfig, sources: dict[str, Any], counts: dict[str, Any]
) -> Iterator[tuple[Any, Any]]:
    """Yields the kept rows of each batch of the first source, and what the hook made of them."""
    import pyarrow.compute as pc

    from cluster.user_code.module import user_function

    first, *others = config.sources
    tables = {name: _table(sources[name]) for name in others}
    hook = user_function(pipeline.module, config.hook) if config.hook else None
    for batch in sources[first].batches():
        counts["in"] += batch.num_rows
        for name in config.require:
            if name not in batch.schema.names:
                raise ConfigError(
                    f"require: no column '{name}' in {config.sources[first]}; there are {', '.join(batch.schema.names)}"
                )
            present = pc.is_valid(batch.column(name))
            missing = batch.num_rows - pc.sum(present).as_py() if batch.num_rows else 0
            if missing:
                counts["aside"][f"without {name}"] = counts["aside"].get(f"without {name}", 0) + missing
                batch = batch.filter(present)
        if batch.num_rows:
            yield batch, _joined(hook, config.hook, batch, tables)


def _open_all(config: IngestConfig) -> dict[str, Any]:
    from cluster.pipeline.column_types import types_of_source
    from cluster.pipeline.input_files import csv_columns_of, open_input

    types: dict[str, dict[str, str]] = {}
    if config.types:
        columns = {name: csv_columns_of(path, config.encoding) for name, path in config.sources.items()}
        types = types_of_source(config.types, {name: names for name, names in columns.items() if names is not None})
    return {name: open_input(path, types.get(name), config.encoding) for name, path in config.sources.items()}


def _table(source: Any) -> Any:
    import pyarrow as pa

    return pa.Table.from_batches(source.batches(), source.schema)


def _joined(hook: Any, name: str, batch: Any, tables: dict[str, Any]) -> Any:
    import pyarrow as pa

    result = batch if hook is None else hook(batch, tables)
    if isinstance(result, pa.Table):
        pieces = result.combine_chunks().to_batches()
        result = pieces[0] if pieces else pa.RecordBatch.from_pylist([], result.schema)
    if not isinstance(result, pa.RecordBatch):
        raise ConfigError(f"{name} returned {type(result).__name__}; expected a pyarrow.RecordBatch or Table")
    if result.num_rows != batch.num_rows:
        raise DataError(
            f"{name} returned {result.num_rows:,} rows for {batch.num_rows:,}; a join that repeats or drops rows is an error "
            "(set rows aside with `require`)"
        )
    return result


def _write(staged: Path, schema: Any, out: Path, format: str, config: IngestConfig) -> None:
    from engine import Dataset

    kind, _, packing = format.partition("-")
    compression = packing or None
    if kind == "parquet":
        compression = None if config.compression == "none" else config.compression
    out.parent.mkdir(exist_ok=True)
    Dataset.open(str(staged), feature_spec=schema).write(
        str(out), format=kind, num_shards=config.num_shards, compression=compression
    )


def _changed(old: Any, new: Any) -> str:
    before, after = ({f.name: str(f.type) for f in schema} for schema in (old, new.schema))
    names = [n for n in {**before, **after} if before.get(n) != after.get(n)]
    return ", ".join(f"{n}: {before.get(n, 'absent')} → {after.get(n, 'absent')}" for n in names) or "their order"


def _inputs(pipeline: Pipeline) -> dict[str, str]:
    from cluster.pipeline.input_files import fingerprint

    assert pipeline.ingest is not None
    return {name: fingerprint(path) for name, path in pipeline.ingest.sources.items()}


def _functions(pipeline: Pipeline) -> tuple[str, ...]:
    assert pipeline.ingest is not None
    return (pipeline.ingest.hook,) if pipeline.ingest.hook else ()


STEP = Step(name="ingest", after=(), run=_run, functions=_functions, inputs=_inputs, packages=("pyarrow",))
