"""Blocks of numbers of plain TFRecord files, read, decoded and packed in two native calls: what the training feed asks for most."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import BinaryIO

import pyarrow as pa

from engine import _native
from engine.core.errors import DataError
from engine.formats.split import Split
from engine.formats.tfrecord import codec
from engine.formats.tfrecord.inferred_schema import saw_a_part
from engine.storage import paths as _paths
from engine.storage import uris as _uris
from engine.storage.open_files import OpenFiles

__all__ = ["PlainBlocks"]

_WHOLE = 1 << 30  # rows of a batch that no block reaches
_FILES: OpenFiles[BinaryIO] = OpenFiles(64)


class PlainBlocks:
    """Reads blocks whose columns are numbers as a packed array takes them.

    Whatever is otherwise (a compressed file, a missing value, damage) is left to `engine.formats.read`, which fills it in, casts
    it, or says what is wrong.

    Args:
        schema: of what the files hold.
        columns: names to read.
    """

    def __init__(self, schema: pa.Schema, columns: Sequence[str]) -> None:
        decoded = codec.record_schema(schema)
        self._native = codec.native_schema(decoded, columns, ())
        self._strict = saw_a_part(schema)
        self._columns = codec.decoded_schema(decoded, columns, ()).__arrow_c_schema__()
        # Each reader knows from its last block how much room one takes, and serves one thread.
        self._readers = threading.local()

    def pack(self, split: Split, packer: _native.RowPacker, outs: list[object]) -> bool:
        """Packs the records of a split that begins and ends with a record.

        Args:
            split: with its number of records.
            packer: of the columns.
            outs: the packed arrays, of as many rows.

        Returns:
            Whether it is done; else what is in `outs` may not be used.
        """
        if split.compression or split.records is None or _uris.is_remote(split.path):
            return False
        try:
            marks = *_paths.change_mark(split.path), os.getpid()
            file = _FILES.get(split.path, *marks, opened=lambda: _paths.open_input(split.path))
        except (DataError, OSError):
            return False
        if not hasattr(self._readers, "own"):
            self._readers.own = _native.SpanReader(self._native, self._strict)
        whole, begin, end, batches = self._readers.own.read(file.fileno(), split.start, split.stop, True, _WHOLE)
        if not whole or (begin, end) != (split.start, split.stop) or len(batches) != 1:
            return False
        return packer.pack_batch(self._columns, batches[0], outs, split.records)
