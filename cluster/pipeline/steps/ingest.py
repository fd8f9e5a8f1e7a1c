"""ingest: source files, joined by the user's hook, to shards of each part; the work is `engine.ingest`'s."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cluster.pipeline.config import IngestConfig, Pipeline
from cluster.pipeline.step import Counts, Step, StepContext, StepResult
from engine.core.errors import ConfigError, DataError, column_not_found

__all__ = ["STEP"]

_HIDDEN = "\0split by "  # no column of a file has such a name


def _run(context: StepContext) -> StepResult:
    from engine.ingestion.ingestion import ingest

    config = context.pipeline.ingest
    assert config is not None
    counts: dict[str, Any] = {"in": 0, "aside": {}}
    main, tables, given = _open(config, str(context.out))
    notes = [note for source in (main, *tables.values()) for note in source.notes]
    source = _prepared(context, config, main, tables, counts)
    source.given_parts = given
    raw = [label for label in context.pipeline.labels if label in source.schema.names]
    label = config.label or (raw[0] if raw else None)
    options = {**config.part_arguments(), "label": label or None}
    report: Any = None
    for format in config.formats:
        kind, compression = config.written_as(format)
        done = ingest(source, str(context.out / format), kind, config.num_shards, compression, **options)
        report = report or done
    for name in ("train", "eval"):
        if not report.parts[name].num_records:
            raise DataError(f"the part {name} got no row of {source.num_records:,}", path=main.paths[0])
    rows = {name: manifest.num_records for name, manifest in report.parts.items()}
    text_columns = [note for note in notes if " is text" in note]
    return StepResult(
        counts=Counts(rows_in=counts["in"], rows_out=report.num_records, set_aside=counts["aside"]),
        outputs={name: f"{config.formats[0]}/{name}" for name in report.parts},
        notes=(
            *report.lines(),
            *([f"each as {', '.join(config.formats)}"] if len(config.formats) > 1 else []),
            *(f"{note}; a type in [ingest.types] decides" for note in notes),
        ),
        info={**rows, "text_columns": text_columns},
    )


def _open(config: IngestConfig, out: str) -> tuple[Any, dict[str, Any], dict[str, list[str]] | None]:
    """Opens the source that is streamed and those that are looked up; returns them and the files of given parts."""
    from cluster.pipeline.column_types import types_of_source
    from cluster.pipeline.input_files import csv_columns_of, files_of, open_input

    sources = {name: config.source(name) for name in config.sources}
    files: dict[str, list[str]] = {}
    given = {name: files_of(source) for name, source in config.part_sources().items()} or None
    if given:
        sources = {"parts": next(iter(config.part_sources().values())), **sources}
        files["parts"] = [path for paths in given.values() for path in paths]
    types: dict[str, dict[str, str]] = {}
    if config.types:
        columns = {name: csv_columns_of(source, files.get(name)) for name, source in sources.items()}
        types = types_of_source(config.types, {name: names for name, names in columns.items() if names is not None})
    opened = {name: open_input(source, files.get(name), types.get(name), out) for name, source in sources.items()}
    first, *others = opened
    return opened[first], {name: opened[name] for name in others}, given


def _prepared(
    context: StepContext, config: IngestConfig, main: Any, tables: dict[str, Any], counts: dict[str, Any]
) -> Any:
    """Returns what is written: the main source, or what `require` and the hook make of it, kept while it is made."""
    import pyarrow as pa

    from engine.dataset.sharding.spool import spooled_source

    if not config.hook and not config.require:
        counts["in"] = main.num_records
        return main
    looked_up = {name: pa.Table.from_batches(source.batches(), source.schema) for name, source in tables.items()}
    keys = [name for name in config.split_columns() if name in main.schema.names]
    return spooled_source(
        _made(context.pipeline, config, main, looked_up, keys, counts),
        paths=main.paths,
        aliases={name: _HIDDEN + name for name in keys},
        directory=str(context.out),
    )


def _made(
    pipeline: Pipeline, config: IngestConfig, main: Any, tables: dict[str, Any], keys: list[str], counts: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yields (file, rows as the hook made them and the columns that they are split by, as they came)."""
    import pyarrow.compute as pc

    from cluster.user_code.module import user_function
    from engine.core.progress import Progress

    hook = user_function(pipeline.module, config.hook) if config.hook else None
    schema = None
    with Progress("join", main.num_records) as progress:
        for path, batch in main.located_batches():
            counts["in"] += batch.num_rows
            for name in config.require:
                if name not in batch.schema.names:
                    raise ConfigError(f"require: {main.paths[0]}: {column_not_found([name], batch.schema.names)}")
                present = pc.is_valid(batch.column(name))
                missing = batch.num_rows - pc.sum(present).as_py() if batch.num_rows else 0
                if missing:
                    counts["aside"][f"without {name}"] = counts["aside"].get(f"without {name}", 0) + missing
                    batch = batch.filter(present)
            progress.update(counts["in"])
            if not batch.num_rows:
                continue
            joined = _joined(hook, config.hook, batch, tables)
            if schema is not None and joined.schema != schema:
                raise ConfigError(f"{config.hook} gave other columns or types than before: {_changed(schema, joined)}")
            schema = joined.schema
            for name in keys:
                joined = joined.append_column(_HIDDEN + name, batch.column(name))
            yield path, joined


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


def _changed(old: Any, new: Any) -> str:
    before, after = ({f.name: str(f.type) for f in schema} for schema in (old, new.schema))
    names = [n for n in {**before, **after} if before.get(n) != after.get(n)]
    return ", ".join(f"{n}: {before.get(n, 'absent')} → {after.get(n, 'absent')}" for n in names) or "their order"


def _inputs(pipeline: Pipeline) -> dict[str, str]:
    from cluster.pipeline.input_files import fingerprints

    config = pipeline.ingest
    assert config is not None
    parts = {f"part {name}": source for name, source in config.part_sources().items()}
    return fingerprints({**{name: config.source(name) for name in config.sources}, **parts})


def _functions(pipeline: Pipeline) -> tuple[str, ...]:
    assert pipeline.ingest is not None
    return (pipeline.ingest.hook,) if pipeline.ingest.hook else ()


STEP = Step(name="ingest", after=(), run=_run, functions=_functions, inputs=_inputs, packages=("pyarrow",))
