"""ORC through pyarrow; a block is a stripe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from engine.formats.beginnings import may_be_text
from engine.formats.foreign.numbered import NumberedFile, NumberedFormat
from engine.schema.unify import plain_schema
from engine.storage import paths as _paths
from engine.storage import uris as _uris

__all__ = ["FORMAT"]

_FOOTER_BYTES = 1 << 16  # the end of a file, which says where all of it lies


def _matches(head: bytes) -> bool:
    """Returns whether a file that begins with these bytes is ORC."""
    return head.startswith(b"ORC") and not may_be_text(head)


class _OrcFile(NumberedFile):
    def __init__(self, path: str) -> None:
        from pyarrow import orc

        self._path = path
        self._file = orc.ORCFile(
            _paths.open_input(path) if _uris.is_remote(path) else pa.OSFile(_uris.arrow_name(path))
        )
        self.schema = plain_schema(self._file.schema, path)
        self.sizes = [self._file.content_length // max(self._file.nstripes, 1)] * self._file.nstripes

    def read(self, block: int, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a stripe."""
        if columns is not None and not columns:
            columns = self.schema.names[:1]  # pyarrow takes no columns for all
        if columns is not None and any("." in name for name in self.schema.names):
            columns = None  # pyarrow takes a.b for b inside of a, too
        yield self._file.read_stripe(block, columns=None if columns is None else list(columns))

    def hash(self, block: int) -> bytes:
        """Returns the footer, which says where every stripe lies."""
        size_bytes, _ = _paths.stat(self._path)
        with _paths.open_input(self._path) as file:
            file.seek(max(size_bytes - _FOOTER_BYTES, 0))
            return size_bytes.to_bytes(8, "little") + file.read(_FOOTER_BYTES)


FORMAT = NumberedFormat("orc", _OrcFile, _matches, (".orc",))
