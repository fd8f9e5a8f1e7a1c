"""Blocks of plain numbers, packed as they are read: what most of a feed's blocks are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from engine._native import RowPacker
from engine.core.errors import DataError
from engine.feed.protocols import BlockManifest
from engine.formats.partitions import is_marked, partition_keys, without_marked
from engine.formats.registry import format_module
from engine.formats.split import Split

__all__ = ["PlainReader"]

_MOST_READ_TWICE = 4  # blocks: where that many had to be, others will, too


class PlainReader:
    """Packs blocks of plain numbers: nothing is done for a column, and little for a block, while Python's lock is held, which the
    threads of a feed would wait for.

    Args:
        manifest: of the data set.
        schema: of what its files hold.
        columns: names to read, all of types of which packed arrays are.
    """

    @staticmethod
    def of(manifest: BlockManifest, schema: pa.Schema, columns: Sequence[str]) -> PlainReader | None:
        """Returns one for columns of a data set, or None where they are no plain numbers."""
        fields = [schema.field(name) for name in columns]
        if all(_is_plain(field.type) and not is_marked(field) for field in fields):
            return PlainReader(manifest, without_marked(schema), columns)
        return None

    def __init__(self, manifest: BlockManifest, schema: pa.Schema, columns: Sequence[str]) -> None:
        self._manifest, self._schema, self._columns = manifest, schema, columns
        self._formats: dict[str, Any] = {}
        self._keyed: dict[str, bool] = {}  # whether a file lies in directories that name columns
        self._read_twice = 0

    def pack(self, block: int, packer: RowPacker, outs: list[Any]) -> bool:
        """Packs all records of a block; called from several threads.

        Args:
            block: its number.
            packer: of the columns.
            outs: the packed arrays, [records of the block, slots] each.

        Returns:
            Whether it is done; else the block is to be read as any other, and what is in `outs` may not be used.
        """
        if self._read_twice >= _MOST_READ_TWICE:
            return False
        split = self._manifest.block_split(block)
        if split.path not in self._keyed:
            self._keyed[split.path] = _has_keys(split)
        if self._keyed[split.path]:  # whose values are compared with the files' own
            return False
        if split.format not in self._formats:
            made = getattr(format_module(split.format), "PlainBlocks", None)
            self._formats[split.format] = made and made(self._schema, self._columns)
        blocks = self._formats[split.format]
        if blocks is None:
            return False
        done: bool = blocks.pack(split, packer, outs)
        self._read_twice += not done
        return done


def _has_keys(split: Split) -> bool:
    try:
        return bool(partition_keys(split.path, split.levels))
    except DataError:  # reading will say so, where damage may be skipped
        return True


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_float32(kind) or pa.types.is_int64(kind))
