"""Parsed records as a source, and where what is kept of them goes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from engine.core.errors import DataError
from engine.dataset.sharding.source import Source, SourcePart
from engine.formats.spool import Spool
from engine.storage import uris as _uris

__all__ = ["spool_directory", "spooled_source"]


def spool_directory(out: str) -> str | None:
    """The nearest directory there is on the way to a local output: its disk has room for what is written to it."""
    if _uris.is_remote(out):
        return None
    place = _uris.local_path(out).absolute().parent
    while not place.is_dir() and place != place.parent:
        place = place.parent
    return str(place) if os.access(place, os.W_OK) else None


def spooled_source(
    batches: Iterable[tuple[str, pa.RecordBatch]],
    *,
    paths: Sequence[str],
    notes: Sequence[str] = (),
    aliases: Mapping[str, str] | None = None,
    directory: str | None = None,
) -> Source:
    """Returns the source of batches; a column is nullable where a null was seen.

    Args:
        batches: (file, rows of it), all of one schema.
        paths: files that they come from.
        notes: of the source.
        aliases: column as a user names it → its name in the batches, for columns that are split by and not written.
        directory: where batches are kept, if they are many; None takes that of temporary files.

    Raises:
        DataError: there is no batch, or no room for them.
    """
    spool, parts = Spool(directory), []
    schema: pa.Schema | None = None
    nullable: set[str] = set()
    for path, batch in batches:
        schema = schema or batch.schema
        nullable |= {name for name, column in zip(schema.names, batch.columns) if column.null_count}
        number = spool.add(batch)
        if number is None:
            raise DataError(
                f"has no room for {batch.nbytes:,} more bytes of rows", path=directory or "temporary directory"
            )

        def read(number: int = number) -> Iterator[pa.RecordBatch]:
            yield spool.read(number)

        parts.append(SourcePart(path=path, records=batch.num_rows, read=read))
    if schema is None:
        raise DataError("gave no record", path=paths[0])
    hidden = set((aliases or {}).values())
    written = pa.schema(
        [field.with_nullable(field.name in nullable) for field in schema if field.name not in hidden],
        metadata=schema.metadata,
    )

    def read_all(batch_rows: int) -> Iterator[pa.RecordBatch]:
        for part in parts:
            yield from part.read()

    records = sum(part.records for part in parts)
    return Source(written, records, list(paths), read_all, tuple(notes), parts, aliases)
