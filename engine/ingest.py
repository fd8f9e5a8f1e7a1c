"""From whatever the data is in to even shards with a manifest."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from engine import atomic
from engine import paths as _paths
from engine.errors import ConfigError, DataError
from engine.formats import format_module
from engine.manifest import FileEntry, Manifest
from engine.progress import Progress
from engine.write import check_output, write_shards

__all__ = ["ingest_dataset"]


def ingest_dataset(
    dataset: Any, out: str, *, format: str, num_shards: int, compression: str | None, **options: Any
) -> Manifest:
    """Writes a data set as even shards into a directory that appears whole; returns its manifest.

    Raises:
        DataError: the input is damaged, or the written count is not the read one.
    """
    check_output(format, compression)
    if num_shards < 1:
        raise ConfigError(f"num_shards is {num_shards}; it takes at least 1")
    total = dataset.num_records
    stored = format_module(format).stored_schema(dataset.schema)
    with _output_directory(out) as directory, Progress("write", total) as progress:
        entries = write_shards(
            dataset.read_batches(**options),
            dataset.schema,
            directory,
            format=format,
            num_shards=num_shards,
            compression=compression,
            num_records=total,
            on_rows=progress.advance,
        )
        manifest = Manifest(tuple(entries), stored)
        if manifest.num_records != total:
            raise DataError(f"read {total} records but wrote {manifest.num_records}; nothing was kept", path=out)
        manifest.save(directory)
    return Manifest(tuple(_moved(entry, directory, out) for entry in entries), stored)


def _moved(entry: FileEntry, old: str, new: str) -> FileEntry:
    return dataclasses.replace(
        entry,
        path=_paths.join(
            new, os.path.relpath(entry.path, old) if not _paths.is_remote(new) else entry.path.rsplit("/", 1)[-1]
        ),
    )


class _output_directory:
    """A directory to fill: local ones appear whole; in object stores the manifest, written last, makes them valid."""

    def __init__(self, out: str) -> None:
        self.out = out

    def __enter__(self) -> str:
        self._context = None if _paths.is_remote(self.out) else atomic.atomic_directory(self.out)
        return self.out if self._context is None else str(self._context.__enter__())

    def __exit__(self, *error: Any) -> None:
        if self._context is not None:
            self._context.__exit__(*error)
