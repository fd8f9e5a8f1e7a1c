"""From whatever the data is in to even shards with a manifest, split by keys where asked; nothing half written stays."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError, DataError
from engine.core.progress import Progress
from engine.dataset.manifest import MANIFEST_NAME, FileEntry, Manifest
from engine.dataset.shards import ShardSet
from engine.dataset.write import check_output
from engine.formats.csv.reader import CsvOptions
from engine.formats.registry import format_module
from engine.ingest.key_split import check_fractions, part_of_rows
from engine.ingest.open_source import Source, open_source
from engine.storage import paths as _paths
from engine.storage.destination import Destination

__all__ = ["IngestReport", "ingest", "ingest_dataset"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestReport:
    """What an ingest did.

    Args:
        out: directory.
        num_records: records read, and written.
        parts: manifest of each part; the only key is "" where the data was not split.
        seconds: wall time.
        notes: what to know about the sources, such as the cell that made a column of numbers text.
    """

    out: str
    num_records: int
    parts: Mapping[str, Manifest]
    seconds: float
    notes: tuple[str, ...] = ()


def ingest(
    sources: Any,
    out: str | os.PathLike[str],
    format: str = "parquet",
    num_shards: int = 64,
    compression: str | None = None,
    *,
    split_by: Sequence[str] = (),
    fractions: Mapping[str, float] | None = None,
    seed: int = 0,
    feature_spec: Any = None,
    csv_options: CsvOptions | None = None,
) -> IngestReport:
    """Writes CSV, Parquet or TFRecord files as even shards into a directory that appears whole.

    Args:
        sources: files, directories or globs, all of one kind; or a `Source`.
        out: directory; a former result there is replaced. With fractions, one directory below it for each part.
        format: "parquet" or "tfrecord".
        num_shards: shards of each part; their record counts differ by one at most.
        compression: None or "gzip"; TFRecord also "zlib", Parquet "zstd" and "snappy".
        split_by: key columns; records with equal keys stay together, whatever file they are in.
        fractions: part name to share of the keys; the shares sum to 1.
        seed: another seed draws other keys.
        feature_spec: columns of TFRecord sources; None infers them.
        csv_options: how CSV sources are written, and the declared types of their columns.

    Raises:
        ConfigError: an option that cannot work, or an `out` that holds a source or files of another origin.
        DataError: damaged input, or a count that does not reconcile.
    """
    check_output(format, compression)
    if num_shards < 1:
        raise ConfigError(f"num_shards is {num_shards}; it takes at least 1")
    if bool(split_by) != bool(fractions):
        raise ConfigError("split_by and fractions go together: the key columns, and the share of each part")
    if fractions:
        check_fractions(fractions)
    start = time.monotonic()
    destination = Destination(out, MANIFEST_NAME, in_parts=True)
    if isinstance(sources, Source):
        source = sources
    else:
        given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
        destination.check(
            read_whole=given
        )  # again below, when the sources are known: to open them can be a pass over all
        source = open_source(given, feature_spec, csv_options)
    destination.check(source.paths)
    out = destination.path
    plan = _Plan(source, list(split_by), dict(fractions or {}), seed)
    stored = format_module(format).stored_schema(source.schema)
    parts: dict[str, Manifest] = {}
    with destination.fill(plan.counts()) as directory, contextlib.ExitStack() as open_sets:
        sets = [
            open_sets.enter_context(
                ShardSet(
                    _part_path(directory, name),
                    source.schema,
                    format=format,
                    compression=compression,
                    num_shards=num_shards,
                    num_records=count,
                )
            )
            for name, count in plan.counts().items()
        ]
        with Progress("ingest", source.num_records, "records") as progress:
            for batch in source.batches():
                for index, rows in plan.cut(batch):
                    sets[index].push(rows)
                progress.advance(batch.num_rows)
        for name, shards in zip(plan.counts(), sets):
            entries = shards.finish()
            Manifest(tuple(entries), stored).save(_part_path(directory, name))
            parts[name] = Manifest(tuple(_moved(entry, directory, out) for entry in entries), stored)
        written = sum(manifest.num_records for manifest in parts.values())
        if written != source.num_records:
            raise DataError(f"{source.num_records} records were read and {written} written; nothing was kept", path=out)
    return IngestReport(out=out, num_records=written, parts=parts, seconds=time.monotonic() - start, notes=source.notes)


def ingest_dataset(
    dataset: Any, out: str, *, format: str, num_shards: int, compression: str | None, **options: Any
) -> Manifest:
    """Writes a data set as even shards into a directory that appears whole; returns its manifest."""
    source = Source(dataset.schema, dataset.num_records, dataset.paths, lambda rows: dataset.read_batches(rows))
    return ingest(source, out, format, num_shards, compression, **options).parts[""]


class _Plan:
    """How many records each part takes; with keys that needs a pass over them, done once."""

    def __init__(self, source: Source, keys: list[str], fractions: dict[str, float], seed: int) -> None:
        self._source, self._keys, self._fractions, self._seed = source, keys, fractions, seed
        self._counts: dict[str, int] | None = None

    def counts(self) -> dict[str, int]:
        if self._counts is None:
            self._counts = self._count() if self._keys else {"": self._source.num_records}
        return self._counts

    def _count(self) -> dict[str, int]:
        totals: np.ndarray = np.zeros(len(self._fractions), np.int64)
        with Progress("count keys", self._source.num_records, "records") as progress:
            for batch in self._source.batches():
                totals += np.bincount(
                    part_of_rows(batch, self._keys, self._fractions, self._seed), minlength=len(totals)
                )
                progress.advance(batch.num_rows)
        return {name: int(total) for name, total in zip(self._fractions, totals)}

    def cut(self, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        if not self._keys:
            yield 0, batch
            return
        parts = part_of_rows(batch, self._keys, self._fractions, self._seed)
        for index in range(len(self._fractions)):
            rows = np.flatnonzero(parts == index)
            if len(rows):
                yield index, batch.take(pa.array(rows))


def _part_path(directory: str, name: str) -> str:
    return _paths.join(directory, name) if name else directory


def _moved(entry: FileEntry, old: str, new: str) -> FileEntry:
    """The entry as it stands after the directory `old` became `new`."""
    return dataclasses.replace(entry, path=_paths.join(new, entry.path[len(old) :].lstrip("/")))
