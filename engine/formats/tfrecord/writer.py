"""Writing TFRecord files: Arrow batches encoded a piece at a time, plain or compressed."""

from __future__ import annotations

import contextlib
from typing import Any

import pyarrow as pa

from engine import _native
from engine.core.errors import ConfigError
from engine.formats.block import Block
from engine.formats.tfrecord import codec
from engine.formats.tfrecord.zlib_stream import ZlibWriter
from engine.schema.conform import conform

__all__ = ["COMPRESSIONS", "Writer"]

COMPRESSIONS = (None, "gzip", "zlib")
_PIECE_ROWS = 1024  # what one call encodes stays in cache until it is written


class Writer:
    """Writes batches of one schema to an open file as TFRecord: of tf.SequenceExample where it has feature lists, else of tf.Example."""

    def __init__(self, file: Any, schema: pa.Schema, compression: str | None, threads: int = 1) -> None:
        if compression not in COMPRESSIONS:
            raise ConfigError(f"compression is {compression!r}; TFRecord takes {', '.join(map(repr, COMPRESSIONS))}")
        self._schema = codec.record_schema(schema)
        self._lists = codec.list_keys(self._schema)
        self._file, self._threads = file, threads
        self._packed: Any = None
        if compression == "gzip":
            from isal import igzip

            self._packed = self._file = igzip.IGzipFile(  # type: ignore[no-untyped-call]
                filename="", fileobj=file, mode="wb", compresslevel=2, mtime=0
            )
        elif compression == "zlib":
            self._packed = self._file = ZlibWriter(file)
        self._encoded = _native.Bytes()
        self.records = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds the batch's rows."""
        whole = conform(batch, self._schema, None, self.records)
        codec.refuse_nulls_in_lists(whole, self.records)
        schema, array = whole.__arrow_c_array__()
        for start in range(0, whole.num_rows, _PIECE_ROWS):
            stop = min(start + _PIECE_ROWS, whole.num_rows)
            _native.encode(schema, array, start, stop, self._threads, self._encoded, self._lists)
            self._file.write(self._encoded)
            self.records += stop - start

    def close(self) -> tuple[Block, ...]:
        """Writes what is pending; the file itself stays open."""
        if self._packed is not None:
            self._packed.close()
        return ()

    def abandon(self) -> None:
        """Lets go of a file that nobody will keep, while it still takes bytes: no finalizer has to write any later."""
        if self._packed is not None:
            with contextlib.suppress(Exception):
                self._packed.close()
