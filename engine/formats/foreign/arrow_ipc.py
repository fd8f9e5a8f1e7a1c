"""Arrow IPC: files (Feather version 2 is the same) by record batches, and streams, as Hugging Face saves data sets, as one block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from engine.core.errors import DataError
from engine.formats.beginnings import may_be_text
from engine.formats.foreign.numbered import NumberedFile, NumberedFormat
from engine.schema.kinds import is_text_or_bytes
from engine.schema.plain_layouts import plain_array, plain_schema
from engine.storage import paths as _paths
from engine.storage import uris as _uris

__all__ = ["FORMAT"]

_FILE, _STREAM, _FEATHER_1 = b"ARROW1\0\0", b"\xff\xff\xff\xff", b"FEA1"
MOST_RUN_BYTES = 64 << 20  # of decoded runs at once: one of a billion rows is a few bytes in a file
_FOOTER_BYTES = 1 << 16  # the end of a file, which says where all of it lies


def _matches(head: bytes) -> bool:
    """Returns whether a file that begins with these bytes is Arrow IPC."""
    if head.startswith(_FEATHER_1):
        return not may_be_text(head)
    return head.startswith(_FILE) or (head.startswith(_STREAM) and head[4:8] != _STREAM)


class _IpcFile(NumberedFile):
    def __init__(self, path: str) -> None:
        self._path = path
        source = _paths.open_input(path) if _uris.is_remote(path) else pa.memory_map(_uris.arrow_name(path))
        head = source.read(8)
        source.seek(0)
        if head.startswith(_FEATHER_1):
            raise DataError(
                "is Feather version 1, which pyarrow.feather reads: write it anew as Feather version 2 or Parquet",
                path=path,
            )
        self._reader: Any = pa.ipc.open_file(source) if head.startswith(_FILE) else None
        reader = self._reader or pa.ipc.open_stream(source)
        self.schema = plain_schema(reader.schema, path)
        size_bytes, _ = _paths.stat(path)
        blocks = self._reader.num_record_batches if self._reader else 1
        self.sizes = [size_bytes // max(blocks, 1)] * blocks

    def read(self, block: int, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a block."""
        if self._reader is not None:
            yield from _chosen(self._reader.get_batch(block), columns)
            return
        with pa.ipc.open_stream(_paths.open_input(self._path)) as stream:
            for batch in stream:
                yield from _chosen(batch, columns)

    def hash(self, block: int) -> bytes:
        """Returns the footer, which says where every batch lies."""
        size_bytes, _ = _paths.stat(self._path)
        with _paths.open_input(self._path) as file:
            file.seek(max(size_bytes - _FOOTER_BYTES, 0))
            return size_bytes.to_bytes(8, "little") + file.read(_FOOTER_BYTES)


def _chosen(batch: pa.RecordBatch, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """The rows of a batch, at once or, where a few runs are much in memory, by as many as there is room for."""
    chosen = batch if columns is None else batch.select(list(columns))
    # Arrow takes offsets as the file has them: a damaged one would be read as memory, and end the process.
    chosen.validate(full=True)
    runs = sum(_bytes_of_one(column.values) for column in chosen.columns if pa.types.is_run_end_encoded(column.type))
    rows = max(1, MOST_RUN_BYTES // runs) if runs else max(1, chosen.num_rows)
    for start in range(0, max(1, chosen.num_rows), rows):
        part = chosen.slice(start, rows)
        arrays = [plain_array(column) for column in part.columns]  # of run ends Arrow counts no null
        if not arrays or all(array is column for array, column in zip(arrays, part.columns)):
            yield chosen
            return
        yield pa.RecordBatch.from_arrays(arrays, names=chosen.schema.names)


def _bytes_of_one(values: pa.Array) -> int:
    """What the largest of some values takes in memory, about; at least a byte."""
    if is_text_or_bytes(values.type) and not pa.types.is_fixed_size_binary(values.type):
        return 8 + int(pc.max(pc.binary_length(values)).as_py() or 0)
    return 8 + int(values.nbytes // max(len(values), 1))


FORMAT = NumberedFormat("arrow", _IpcFile, _matches, (".arrow", ".feather", ".ipc", ".arrows"))
