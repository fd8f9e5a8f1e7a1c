"""A source as even shards with a manifest, split into parts where asked; nothing half written stays."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.core.errors import ConfigError, DataError
from engine.dataset.file_entry import FileEntry
from engine.dataset.manifest import MANIFEST_NAME, Manifest
from engine.dataset.sharding.dataset_source import dataset_source
from engine.dataset.sharding.parts.assign import Assignment, assign_parts
from engine.dataset.sharding.parts.part_options import PartOptions
from engine.dataset.sharding.source import Source
from engine.dataset.sharding.write_shards import write_parts
from engine.dataset.write import check_output
from engine.formats.registry import format_module
from engine.storage import paths as _paths
from engine.storage.destination import Destination

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["DEFAULT_SHARDS", "IngestReport", "check_shards", "ingest_dataset", "ingest_source"]

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
        """Returns a line for each part: its records, and the shares and counts of its labels."""
        lines = []
        for name, manifest in self.parts.items():
            shares = self.labels.get(name, {})
            total = sum(shares.values())
            text = ", ".join(f"{value} {100 * count / total:.1f} % ({count:,})" for value, count in shares.items())
            share = f" ({100 * manifest.num_records / self.num_records:.1f} %)" if name and self.num_records else ""
            lines.append(
                f"{name or 'all'}: {manifest.num_records:,} records{share} in {len(manifest.files)} shards"
                + (f"; {text}" if text else "")
            )
        return lines


def check_shards(format: str, num_shards: int, compression: str | None) -> None:
    """Checks how shards are to be written.

    Raises:
        ConfigError: an unknown format or compression, or no shard.
    """
    check_output(format, compression)
    if num_shards < 1:
        raise ConfigError(f"num_shards is {num_shards}; it takes at least 1")


def ingest_source(
    source: Source,
    out: str | os.PathLike[str],
    options: PartOptions,
    *,
    format: str,
    num_shards: int,
    compression: str | None,
    files_of: dict[str, list[str]] | None = None,
    start: float | None = None,
) -> IngestReport:
    """Writes an open source as even shards into a directory that appears whole.

    Args:
        source: records.
        out: directory; a former result there is replaced.
        options: how it is split into parts.
        format: "parquet" or "tfrecord".
        num_shards: shards of each part.
        compression: as the format takes.
        files_of: part → files, where parts are given by their files.
        start: `time.monotonic` of the begin, where the opening counts too.

    Raises:
        ConfigError: an option that cannot work, or an `out` that holds a source or files of another origin.
        DataError: damaged input, or a count that does not reconcile.
    """
    check_shards(format, num_shards, compression)
    start = time.monotonic() if start is None else start
    destination = Destination(out, MANIFEST_NAME, in_parts=True)
    out = destination.path
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
    dataset: Dataset, out: str, *, format: str, num_shards: int, compression: str | None, **options: Any
) -> Manifest | Mapping[str, Manifest]:
    """Writes a data set as even shards into a directory that appears whole; returns its manifest, or one for each part."""
    split = PartOptions(**options)
    report = ingest_source(
        dataset_source(dataset), out, split, format=format, num_shards=num_shards, compression=compression
    )
    return report.parts[""] if list(report.parts) == [""] else report.parts


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
