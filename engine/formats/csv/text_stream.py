"""A CSV file as a stream of UTF-8 bytes, whatever it is packed in and however its text is encoded."""

from __future__ import annotations

import codecs
import contextlib
import zipfile
from collections.abc import Iterator
from typing import Any

from engine.core.errors import DataError
from engine.core.text_encoding import is_utf8
from engine.formats.csv.packed_streams import packing_of, unpacking
from engine.storage import paths as _paths
from engine.storage.pipes import PipedPath

__all__ = ["TextStream", "default_delimiter", "is_csv", "open_text"]

_READ_BYTES = 1 << 18  # of a packed file at once: as much before a damaged place may be lost with it
_PACKED = (".gz", ".bz2", ".zst", ".xz", ".zip")
_NAMES = (".csv", ".tsv", ".psv", ".tab", ".txt", ".data")
_ADVICE = "; say how the file is encoded: encoding='latin-1', 'cp1252' or 'utf-16' are common"


def is_csv(path: str) -> bool:
    """Returns whether a path's name is that of a text file of rows: .csv, .tsv, .psv, .tab, .txt or .data, packed or not."""
    return _unpacked_name(path).endswith(_NAMES)


def default_delimiter(path: str) -> str:
    """Returns the delimiter that a path's name tells: a tab for .tsv and .tab, "|" for .psv, else a comma."""
    name = _unpacked_name(path)
    return "\t" if name.endswith((".tsv", ".tab")) else "|" if name.endswith(".psv") else ","


def _unpacked_name(path: str) -> str:
    name = path.lower().rsplit("/", 1)[-1]
    for ending in _PACKED:
        name = name.removesuffix(ending)
    return name


class TextStream:
    """A file's text as UTF-8 without a byte order mark."""

    def __init__(self, path: str, encoding: str, file: Any) -> None:
        self.path, self._encoding, self._file = path, encoding, file
        self._decoder = None if is_utf8(encoding) else codecs.getincrementaldecoder(encoding)("strict")
        self._ahead = bytearray()
        self._ended = False
        if self._decoder is None:
            try:
                while len(self._ahead) < 3 and (piece := self._raw(3 - len(self._ahead))):
                    self._ahead += piece
            except DataError as error:
                raise DataError(error.message, path=path, record=0) from error
            self._ahead = self._ahead.removeprefix(codecs.BOM_UTF8)

    def read(self, size: int) -> bytes:
        """Returns the next bytes, up to as many as asked for; none at the end.

        Raises:
            DataError: a damaged archive, or text that is not of the encoding.
        """
        if self._decoder is None and not self._ahead:
            return self._raw(size)
        while len(self._ahead) < size and not self._ended:
            piece = self._raw(size - len(self._ahead))
            self._ended = not piece
            self._ahead += piece if self._decoder is None else self._decoded(piece)
        found = bytes(self._ahead[:size])
        del self._ahead[:size]
        return found

    def read_parts(self, size: int) -> tuple[list[bytes], bool, DataError | None]:
        """Returns (the next bytes in parts, as many as asked for if there are, whether they are the last, what is wrong behind them).

        Args:
            size: bytes, at least 1.
        """
        parts: list[bytes] = []
        try:
            while size > 0 and (piece := self.read(min(size, _READ_BYTES))):
                parts.append(piece)
                size -= len(piece)
        except DataError as error:  # what was read before it is not lost
            return parts, False, error
        return parts, size > 0, None

    def _raw(self, size: int) -> bytes:
        try:
            return self._file.read(size) or b""
        except DataError:
            raise
        except MemoryError:
            raise
        except (
            Exception
        ) as error:  # each unpacker has errors of its own, and zlib's, lzma's and zipfile's share no base
            raise DataError(
                f"cannot be unpacked from here on: {error}; it is cut off or damaged", path=self.path
            ) from error

    def _decoded(self, piece: bytes) -> bytes:
        assert self._decoder is not None
        try:
            return self._decoder.decode(piece, final=not piece).encode()
        except UnicodeDecodeError as error:
            # Offsets of a decoder count from where its last piece began, which nobody knows here.
            raise not_decodable(self.path, self._encoding, error.reason) from error


def not_decodable(path: str, encoding: str, reason: str) -> DataError:
    """Returns the error of text of another encoding, with advice where none was named."""
    what = f"is not text of encoding {encoding!r}: {reason}"
    return DataError(what + (_ADVICE if is_utf8(encoding) else ""), path=path)


@contextlib.contextmanager
def open_text(path: str, encoding: str) -> Iterator[TextStream]:
    """Yields a file's text; gzip, bzip2, Zstandard, xz and zip are recognized by their first bytes, not by the file's name.

    Raises:
        DataError: the file cannot be opened, or is a zip archive that does not hold exactly one CSV file.
    """
    with contextlib.ExitStack() as open_files:
        opened = path.open() if isinstance(path, PipedPath) else _paths.open_input(path)
        raw: Any = open_files.enter_context(contextlib.closing(opened))
        head = raw.read(10) or b""
        raw.seek(0)
        file = _unpacked(path, raw, head, open_files)
        yield TextStream(path, encoding, file)


def _unpacked(path: str, raw: Any, head: bytes, open_files: contextlib.ExitStack) -> Any:
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")) or path.lower().endswith(".zip"):
        return _zip_member(path, raw, open_files)
    packing = packing_of(head, path)
    if packing is not None:
        return unpacking(raw, packing)
    return raw


def _zip_member(path: str, raw: Any, open_files: contextlib.ExitStack) -> Any:
    try:
        archive = open_files.enter_context(zipfile.ZipFile(raw))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"is not a whole zip archive: {error}", path=path) from error
    files = [name for name in archive.namelist() if not name.endswith("/") and not _is_housekeeping(name)]
    members = [name for name in files if is_csv(name)] if len(files) > 1 else files
    if len(members) > 1:  # a README.txt beside it is not meant
        members = [name for name in members if name.lower().endswith((".csv", ".tsv", ".psv"))] or members
    if len(members) != 1:
        held = f": {', '.join(files[:5])}{' ...' if len(files) > 5 else ''}" if files else ""
        raise DataError(f"holds {len(members)} CSV files{held}; a zip must hold exactly one", path=path)
    try:
        return open_files.enter_context(archive.open(members[0]))
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        RuntimeError,
        NotImplementedError,
    ) as error:  # RuntimeError: it is encrypted
        raise DataError(f"{members[0]} in it cannot be unpacked: {error}", path=path) from error


def _is_housekeeping(name: str) -> bool:
    """Whether it is a resource fork that macOS put there (`__MACOSX/._data.csv`), or hidden."""
    return name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1].startswith(".")
