"""Reads every byte of a data set, checks every checksum, count and hash, and reports all damage there is, not the first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from engine.core.errors import DataError, FullpassError
from engine.core.progress import Progress
from engine.dataset.file_entry import FileEntry, file_checksum
from engine.dataset.shard_numbers import absent_shards
from engine.formats.block import Block
from engine.formats.damage import DamageLog
from engine.formats.options import OnDamage, ReadOptions
from engine.formats.partitions import partition_keys, stored_columns
from engine.formats.registry import detect, format_module, whole_split
from engine.formats.split import Split
from engine.formats.stored_keys import refuse_contradicted
from engine.storage import paths as _paths
from engine.storage.listing import broken_link

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["Damage", "VerifyReport", "verify"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Damage:
    """One fault: where and what.

    Args:
        path: file.
        record: index within it, or None where damage before it hides that.
        offset_bytes: offset in the (uncompressed) file, or None.
        message: what is wrong.
    """

    path: str
    record: int | None
    offset_bytes: int | None
    message: str

    def __str__(self) -> str:
        return str(DataError(self.message, path=self.path, record=self.record, offset_bytes=self.offset_bytes))


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What `verify` found.

    Args:
        num_files: files read.
        num_records: records that are whole.
        damages: every fault, in the order of files and offsets.
        against_manifest: whether a manifest said what should be there; without one, a file cut between two records, and
            records that are missing altogether, cannot be detected.
        left_out: files that a manifest lists and that were not named, and so not looked at.
        unlisted: files that lie beside a manifest which does not list them.
        unchecked: what nothing could be checked against, a sentence each.
    """

    num_files: int
    num_records: int
    damages: tuple[Damage, ...]
    against_manifest: bool
    left_out: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no damage was found."""
        return not self.damages


def verify(dataset: Dataset) -> VerifyReport:
    """Reads every record of every file and returns all the damage found; never raises for damaged data.

    Args:
        dataset: a `Dataset`; open it with `check_present=False` to have missing and cut files reported too.
    """
    listed: Mapping[str, FileEntry] = dataset.listed_entries
    damages: list[Damage] = []
    unchecked: list[str] = [] if listed else absent_shards(dataset.paths)
    try:
        schema = dataset.schema
    except (FullpassError, OSError):
        schema = None  # what prevents one schema is found below, file by file
    records = 0
    with Progress("verify", len(dataset.paths), "files") as progress:
        for path in dataset.paths:
            entry = listed.get(path)
            whole, found = _verify_file(path, entry, dataset.levels_of(path), schema, dataset.format)
            records += whole
            damages += found
            if not found and (entry is None or entry.checksum is None):
                unchecked += _unchecked(path, dataset.format)
            progress.advance(1, f"{len(damages)} damages" if damages else "")
    unlisted = [path for path in dataset.paths if path not in listed]
    return VerifyReport(
        num_files=len(dataset.paths),
        num_records=records,
        damages=tuple(damages),
        against_manifest=not unlisted,
        left_out=dataset.left_out,
        unlisted=tuple(unlisted) if listed else (),
        unchecked=tuple(unchecked),
    )


def _unchecked(path: str, empty: str) -> list[str]:
    """What could not be checked of a file without a checksum in a manifest."""
    look = getattr(format_module(detect(path, empty)), "unchecked", None)
    said = look(path) if look else None
    return [f"{path}: {said}"] if said else []


def _verify_file(
    path: str, entry: FileEntry | None, levels: int | None, schema: Any, empty: str
) -> tuple[int, list[Damage]]:
    if not _paths.exists(path):
        records = f" with {entry.records} records" if entry else ""
        broken = broken_link(path)
        listed = f"is listed in the manifest{records}, but " if entry or not broken else ""
        return 0, [Damage(path=path, record=None, offset_bytes=None, message=listed + (broken or "is not there"))]
    options = ReadOptions(on_damage=OnDamage.SKIP, skip_budget=1 << 60)
    log = DamageLog(options, quiet=True)
    rows = 0
    contradictions: list[DataError] = []
    try:
        keys = partition_keys(path, levels)
        split = _whole_file(path, empty)
        if schema is None:
            schema = format_module(split.format).infer_schema([path])
        for batch in format_module(split.format).read(split, stored_columns(schema, options)[0], options, log):
            if keys and not contradictions:
                contradictions += _contradicted(batch, keys, path, None if log.records else rows)
            rows += batch.num_rows
    except DataError as error:
        log.faults.append(error)
    faults = list(log.faults)
    if entry is not None:
        faults += _compare(path, entry, rows, log, clean=not faults)
    faults += contradictions
    return rows, [
        Damage(path=fault.path or path, record=fault.record, offset_bytes=fault.offset_bytes, message=fault.message)
        for fault in faults
    ]


def _contradicted(
    batch: pa.RecordBatch, keys: Mapping[str, str | None], path: str, first_record: int | None
) -> list[DataError]:
    try:
        refuse_contradicted(batch, keys, path, first_record)
    except DataError as error:
        return [error]
    return []


def _whole_file(path: str, empty: str) -> Split:
    size_bytes, _ = _paths.stat(path)
    name = detect(path, empty)
    return whole_split(path, name, format_module(name).file_compression(path), size_bytes, None, None)


def _compare(path: str, entry: FileEntry, rows: int, log: DamageLog, clean: bool) -> list[DataError]:
    """What the manifest says against what is there."""
    size_bytes, _ = _paths.stat(path)
    found = []
    if size_bytes != entry.size_bytes:
        place = min(size_bytes, entry.size_bytes)
        found.append(
            DataError(f"has {size_bytes} bytes, its manifest says {entry.size_bytes}", path=path, offset_bytes=place)
        )
    if rows + log.records != entry.records:
        message = f"has {rows} whole and {log.records} damaged records, its manifest says {entry.records}"
        found.append(DataError(message, path=path, record=min(rows + log.records, entry.records)))
    elif clean and not found:
        _, blocks = format_module(entry.format).scan_file(path, entry.compression)
        found += [
            _block_fault(path, index, block)
            for index, block in enumerate(entry.blocks)
            if index >= len(blocks) or blocks[index] != block
        ]
        if not found and entry.checksum is not None and file_checksum(path) != entry.checksum:
            message = "every record is whole, but the file's bytes are not those of the manifest"
            found.append(DataError(message, path=path))
    return found


def _block_fault(path: str, index: int, block: Block) -> DataError:
    return DataError(
        f"block {index} is whole but not the one in the manifest: the file was written anew, or records were exchanged",
        path=path,
        offset_bytes=block.offset,
    )
