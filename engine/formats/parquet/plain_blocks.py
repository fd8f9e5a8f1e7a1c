"""Row groups of numbers, read and packed in two native calls: what the training feed asks for most."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from engine import _native
from engine.core.errors import DataError
from engine.formats.parquet.open_file import open_parquet
from engine.formats.split import Split

__all__ = ["PlainBlocks"]

_MOST_BYTES = 256 << 20  # of a row group that is held whole beside its packed rows


class PlainBlocks:
    """Reads row groups whose columns are numbers as a packed array takes them.

    Whatever is otherwise (a column of another type, a missing value, damage) is left to `engine.formats.read`, which fills it
    in, casts it, or says what is wrong.

    Args:
        schema: of the data set.
        columns: names to read.
    """

    def __init__(self, schema: pa.Schema, columns: Sequence[str]) -> None:
        self._columns = list(columns)

    def pack(self, split: Split, packer: _native.RowPacker, outs: list[object]) -> bool:
        """Packs the one row group of a split.

        Args:
            split: with its number of records.
            packer: of the columns.
            outs: the packed arrays, of as many rows.

        Returns:
            Whether it is done; else what is in `outs` may not be used.
        """
        if split.stop - split.start != 1 or split.records is None:
            return False
        try:
            file = open_parquet(split.path)
            sizes = file.footer.group_bytes
            if split.start >= len(sizes) or sizes[split.start] > _MOST_BYTES:
                return False
            table = file.read_row_group(split.start, columns=self._columns, use_threads=False)
        except (pa.ArrowException, OSError, ValueError, DataError):
            return False
        stream = table.__arrow_c_stream__()
        del table  # to free its memory takes a while, too: that is done where the stream ends, without Python's lock
        return packer.pack_stream(stream, outs, split.records)
