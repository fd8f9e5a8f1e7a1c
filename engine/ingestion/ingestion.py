"""From whatever the data is in to even shards with a manifest, split into parts where asked; nothing half written stays."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.core.errors import ConfigError, DataError
from engine.dataset.manifest import MANIFEST_NAME, FileEntry, Manifest
from engine.dataset.write import check_output
from engine.formats.csv.options import CsvOptions
from engine.formats.csv.pipe import is_pipe
from engine.formats.registry import format_module
from engine.ingestion.assign import Assignment, assign_parts
from engine.ingestion.dataset_source import dataset_source
from engine.ingestion.open_source import open_source
from engine.ingestion.part_options import PartOptions, check_part_name
from engine.ingestion.source import Source
from engine.ingestion.write_shards import write_parts
from engine.storage import paths as _paths
from engine.storage.destination import Destination

__all__ = ["DEFAULT_SHARDS", "IngestReport", "ingest", "ingest_dataset"]

DEFAULT_SHARDS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestReport:
    """What an ingest did.

    Args:
        out: directory.
        num_records: records read, and written.
        parts: manifest of each part; the only key is "" where the data was not split.
        seconds: wall time.
        notes: what to know about the sources, such as the cell that made a column of numbers text.
        labels: part → value of the label column → records; empty without a label column, or where it has many values.
    """

    out: str
    num_records: int
    parts: Mapping[str, Manifest]
    seconds: float
    notes: tuple[str, ...] = ()
    labels: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)

    def lines(self) -> list[str]:
        """Returns a line for each part: its records, and the shares of its labels."""
        lines = []
        for name, manifest in self.parts.items():
            shares = self.labels.get(name, {})
            total = sum(shares.values())
            text = ", ".join(f"{value} {100 * count / total:.1f} %" for value, count in shares.items())
            share = f" ({100 * manifest.num_records / self.num_records:.1f} %)" if name and self.num_records else ""
            lines.append(
                f"{name or 'all'}: {manifest.num_records:,} records{share} in {len(manifest.files)} shards"
                + (f"; {text}" if text else "")
            )
        return lines


def ingest(
    sources: Any,
    out: str | os.PathLike[str],
    format: str = "parquet",
    num_shards: int = DEFAULT_SHARDS,
    compression: str | None = None,
    *,
    fractions: Mapping[str, float] | None = None,
    split_by: Sequence[str] = (),
    stratify_by: str | None = None,
    split_time: str | None = None,
    eval_from: Any = None,
    test_from: Any = None,
    seed: int = 0,
    label: str | None = None,
    feature_spec: Any = None,
    input_format: str | None = None,
    csv_options: CsvOptions | None = None,
) -> IngestReport:
    """Writes CSV, Parquet or TFRecord files as even shards into a directory that appears whole.

    Args:
        sources: files, directories or globs, all of one kind, "-" for standard input, or a `Source`; or a mapping from the
            name of each part to its files.
        out: directory; a former result there is replaced. Data that are split get one directory below it for each part.
        format: "parquet" or "tfrecord".
        num_shards: shards of each part; their record counts differ by one at most.
        compression: None or "gzip"; TFRecord also "zlib", Parquet "zstd" and "snappy".
        fractions, split_by, stratify_by, split_time, eval_from, test_from, seed, label: into which parts records go; see
            `engine.ingestion.part_options.PartOptions`.
        feature_spec: columns of the sources; None infers them.
        input_format: what the sources are, "csv", "parquet" or "tfrecord", whatever they are called; None finds out.
        csv_options: how CSV sources are written, and the declared types of their columns.

    Raises:
        ConfigError: an option that cannot work, or an `out` that holds a source or files of another origin.
        DataError: damaged input, or a count that does not reconcile.
    """
    check_output(format, compression)
    if num_shards < 1:
        raise ConfigError(f"num_shards is {num_shards}; it takes at least 1")
    options = PartOptions(
        fractions=fractions, split_by=split_by, stratify_by=stratify_by, split_time=split_time, eval_from=eval_from,
        test_from=test_from, seed=seed, label=label,
    )  # fmt: skip
    given = _given_parts(sources, options)
    start = time.monotonic()
    destination = Destination(out, MANIFEST_NAME, in_parts=True)
    out = destination.path
    files_of: dict[str, list[str]] | None = None
    if isinstance(sources, Source):
        source = sources
        files_of = {name: list(paths) for name, paths in (source.given_parts or {}).items()} or None
    else:
        paths = [path for files in given.values() for path in files]
        # Again below, when the sources are known: to open them can be a pass over all.
        destination.check(read_whole=[path for path in paths if not is_pipe(os.fspath(path))])
        if "" not in given:
            files_of = _files_of(given)
            paths = [path for files in files_of.values() for path in files]
        # One path alone is opened as such: a directory that is opened whole must hold what its manifest lists.
        source = open_source(
            paths[0] if len(paths) == 1 else paths, feature_spec, csv_options, input_format=input_format,
            spool_directory=_spool_directory(out),
        )  # fmt: skip
    destination.check(source.paths)
    assignment = assign_parts(source, options, files_of)
    with destination.fill(assignment.names) as directory:
        written = _write(source, assignment, directory, format, compression, num_shards)
        parts = {name: _moved(manifest, directory, out) for name, manifest in written.items()}
        records = sum(manifest.num_records for manifest in parts.values())
        if records != source.num_records:
            raise DataError(f"{source.num_records} records were read and {records} written; nothing was kept", path=out)
    return IngestReport(
        out=out, num_records=records, parts=parts, seconds=time.monotonic() - start, notes=source.notes,
        labels=assignment.labels,
    )  # fmt: skip


def ingest_dataset(
    dataset: Any, out: str, *, format: str, num_shards: int, compression: str | None, **options: Any
) -> Manifest | Mapping[str, Manifest]:
    """Writes a data set as even shards into a directory that appears whole; returns its manifest, or one for each part."""
    parts = ingest(dataset_source(dataset), out, format, num_shards, compression, **options).parts
    return parts[""] if list(parts) == [""] else parts


def _given_parts(sources: Any, options: PartOptions) -> dict[str, list[Any]]:
    """Returns the files that the user gave for each part; under "" where they are to be split, or left together."""
    if isinstance(sources, Source):
        return {"": []}
    if not isinstance(sources, Mapping):
        return {"": [sources] if isinstance(sources, str | os.PathLike) else list(sources)}
    if options.names != ("",):
        raise ConfigError("files are given for each part, and a way to split them, too; give one of both")
    if not sources:
        raise ConfigError("no part was given; give its files for each, such as {'train': 'a.csv', 'eval': 'b.csv'}")
    for name in sources:
        check_part_name(name)
    return {name: [files] if isinstance(files, str | os.PathLike) else list(files) for name, files in sources.items()}


def _files_of(given: Mapping[str, Iterable[Any]]) -> dict[str, list[str]]:
    """The files of each part, one by one; a file of two parts would put its records into one of them alone."""
    files_of = {name: _paths.expand(paths) for name, paths in given.items()}
    owner: dict[str, str] = {}
    for name, files in files_of.items():
        for file in files:
            if file in owner:
                raise ConfigError(f"{file} is given for the parts {owner[file]!r} and {name!r}; a record has one part")
            owner[file] = name
    return files_of


def _spool_directory(out: str) -> str | None:
    """The nearest directory there is on the way to a local output: its disk has room for what is written to it."""
    if _paths.is_remote(out):
        return None
    place = _paths.local_path(out).absolute().parent
    while not place.is_dir() and place != place.parent:
        place = place.parent
    return str(place) if os.access(place, os.W_OK) else None


def _write(
    source: Source, assignment: Assignment, directory: str, format: str, compression: str | None, num_shards: int
) -> dict[str, Manifest]:
    directories = [_paths.join(directory, name) if name else directory for name in assignment.names]
    entries = write_parts(
        source, assignment, directories, format=format, compression=compression, num_shards=num_shards
    )
    stored = format_module(format).stored_schema(source.schema)
    manifests = {}
    for name, folder, files in zip(assignment.names, directories, entries):
        manifests[name] = Manifest(tuple(files), stored)
        manifests[name].save(folder)
    return manifests


def _moved(manifest: Manifest, old: str, new: str) -> Manifest:
    """The manifest as it reads after the directory `old` became `new`."""

    def moved(entry: FileEntry) -> FileEntry:
        return dataclasses.replace(entry, path=_paths.join(new, entry.path[len(old) :].lstrip("/")))

    return Manifest(tuple(moved(entry) for entry in manifest.files), manifest.schema)
