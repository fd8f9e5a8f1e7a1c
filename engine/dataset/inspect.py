"""What a data set holds, in words; and its manifest, written beside data that came without one."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from engine.dataset.file_entry import FileEntry
from engine.dataset.manifest import Manifest
from engine.storage import paths as _paths

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["describe", "first_rows", "write_manifest"]


def describe(dataset: Dataset) -> str:
    """Returns a summary: files, records, bytes, blocks, and a line a column with its type and missing values."""
    manifest = dataset.manifest
    sizes = [entry.size_bytes for entry in manifest.files]
    blocks = sum(len(entry.blocks) for entry in manifest.files)
    compression = {entry.compression for entry in manifest.files if entry.compression}
    lines = [
        f"{dataset.format}{', ' + '/'.join(sorted(compression)) if compression else ''}: {manifest.num_records:,} records, "
        f"{len(sizes):,} files, {sum(sizes):,} bytes (each {min(sizes):,} to {max(sizes):,}), {blocks:,} blocks",
        f"hash {manifest.hash}",
        *(_column_line(field) for field in dataset.schema),
    ]
    return "\n".join(lines)


def _column_line(field: pa.Field) -> str:
    notes = {key.decode().removeprefix("fullpass."): value.decode() for key, value in (field.metadata or {}).items()}
    extra = "".join(f"  {key} {value}" for key, value in notes.items() if not key.startswith("PARQUET"))
    return f"  {field.name:<28} {field.type!s:<28} {'may be missing' if field.nullable else 'always present'}{extra}"


def first_rows(dataset: Dataset, count: int) -> Iterator[dict[str, Any]]:
    """Yields the first records as dicts; bytes as text where they are UTF-8, else as base64."""
    for batch in dataset.read_batches(batch_rows=count):
        for row in batch.to_pylist():
            yield {name: _readable(value) for name, value in row.items()}
            count -= 1
            if not count:
                return


def _readable(value: Any) -> Any:
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def write_manifest(dataset: Dataset) -> str:
    """Looks at every record of the data set and writes its manifest beside the files, in the directory that holds all
    of them and the keys above directories that are none; returns the manifest's path.

    Raises:
        ConfigError: files that lie in no common directory.
        DataError: damaged data.
    """
    directory = _paths.common_parent(_below_keys(path, dataset.levels.get(path, 0)) for path in dataset.paths)
    schema = dataset.schema_of_all_records()
    manifest = Manifest(
        tuple(FileEntry.scan(path, with_checksum=True, empty=dataset.format) for path in dataset.paths), schema
    )
    return manifest.save(directory)


def _below_keys(path: str, levels: int) -> str:
    """The topmost directory of a key among so many above a file, or the file where there is none."""
    topmost = path
    for _ in range(levels):
        path = _paths.parent(path)
        if "=" in path.rpartition("/")[2]:
            topmost = path
    return topmost
