"""Batches that can be made only once, or dearly, as a source: kept while they come, read as often as needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from engine.core.errors import DataError
from engine.ingestion.source import Source, SourcePart
from engine.ingestion.spool import Spool

__all__ = ["spooled_source"]


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
