"""Any input as one stream of batches with one schema and a known number of records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa

from engine.core.errors import DataError

__all__ = ["Source", "SourcePart"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourcePart:
    """Records of one file that lie together and can be read by themselves, at the price of reading just them.

    Args:
        path: the file.
        records: how many.
        read: yields them in order, as often as it is called, from any thread.
        read_by: the same by a number of threads, where they are of use.
    """

    path: str
    records: int
    read: Callable[[], Iterator[pa.RecordBatch]]
    read_by: Callable[[int], Iterator[pa.RecordBatch]] | None = None

    def batches(self, threads: int) -> Iterator[pa.RecordBatch]:
        """Yields the records in order, read by up to so many threads."""
        return self.read() if self.read_by is None or threads == 1 else self.read_by(threads)


class Source:
    """One input. `schema` and `num_records` hold for all of `batches()`, which may be called any number of times.

    Args:
        schema: of what is written of it; batches may have more columns.
        num_records: in all.
        paths: files.
        read: yields all records in order, in batches of about as many rows as its argument says.
        notes: what a reader should know, such as the cell that made a column of numbers text.
        parts: the same records in parts, each read by itself; none where they can only be read in one go.
        aliases: column as a user names it → its name in batches, for columns to split by that are not written.
    """

    def __init__(
        self,
        schema: pa.Schema,
        num_records: int,
        paths: list[str],
        read: Callable[[int], Iterator[pa.RecordBatch]],
        notes: tuple[str, ...] = (),
        parts: Sequence[SourcePart] = (),
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.schema, self.num_records, self.paths, self._read, self.notes = schema, num_records, paths, read, notes
        self.parts, self.aliases = tuple(parts), dict(aliases or {})
        self.given_parts: Mapping[str, Sequence[str]] | None = None  # part name to its files, where the user gave them

    def located_batches(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yields (file, some of its records) in order; without parts nobody knows the file, which is then the first."""
        if not self.parts:
            for batch in self.batches():
                yield self.paths[0] if self.paths else "", batch
        for part in self.parts:
            for batch in part.read():
                yield part.path, batch

    def batches(self, batch_rows: int = 65536) -> Iterator[pa.RecordBatch]:
        """Yields every record once, in order.

        Raises:
            DataError: damaged input, or another number of records than `num_records`.
        """
        rows = 0
        for batch in self._read(batch_rows):
            rows += batch.num_rows
            yield batch
        if rows != self.num_records:
            raise DataError(
                f"gave {rows} records in this pass and {self.num_records} before; it changed in between",
                path=self.paths[0] if self.paths else None,
            )
