"""What a file really is whose name says something else, by its first bytes."""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from engine.storage import paths as _paths

__all__ = ["first_bytes", "has_no_names", "holds_nothing", "is_bzip2", "may_be_text", "said_of", "unpacked_head"]

_SHOWN = 40
_MOST = 1 << 16  # bytes that a few packed ones may become
_GZIP, _ZSTD, _XZ = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0"
_KNOWN = (
    (b"version https://git-lfs", "a Git LFS pointer: fetch the data with `git lfs pull`"),
    (b"<!doctype html", "an HTML page: whatever downloaded it was answered with an error page or a log-in"),
    (b"<html", "an HTML page: whatever downloaded it was answered with an error page or a log-in"),
    (b"<?xml", "XML, such as an error that an object store answered with"),
    (b"{", "JSON"),
    (b"[{", "JSON"),
    (b"PAR1", "the beginning of a Parquet file: it was cut off, or is still being written"),
    (b"PARE", "an encrypted Parquet file"),
    (b"Salted__", "a file encrypted by openssl: decrypt it first"),
    (b"age-encryption.org", "a file encrypted by age: decrypt it first"),
    (b"-----BEGIN PGP", "a file encrypted by PGP: decrypt it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (_XZ, "xz"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x89HDF", "HDF5"),
    (b"\x93NUMPY", "a NumPy array"),
)


_NO_TEXT = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")  # of a stream's first block, and of the end of one without a block
# The beginnings above that are text, and yet of no row of names.
_NO_NAMES = re.compile(
    rb'version https://git-lfs|<!doctype html|<html|<\?xml|age-encryption\.org/v|-----BEGIN PGP|\{\s*"[^"]*"\s*:|\[\s*\{',
    re.IGNORECASE,
)


def may_be_text(head: bytes) -> bool:
    """Returns whether bytes have no control character but those of text: no file begins so of a format that is not text.

    "ORC", "PAR1" and "FEA1" are words that the header of a CSV file may begin with, too.
    """
    return len(head.translate(None, _NO_TEXT)) == len(head)


def is_bzip2(head: bytes, path: str = "") -> bool:
    """Returns whether a file is packed by bzip2: its first ten bytes say so, or the first four and its name."""
    if not head.startswith(b"BZh") or head[3:4] not in b"123456789":
        return False
    return head[4:10] in _BZIP2_BLOCKS or path.lower().endswith((".bz2", ".bz"))


def unpacked_head(head: bytes) -> bytes:
    """Returns the beginning of what a gzip file holds; of any other file its own."""
    found, rest = b"", head
    try:
        while not found and rest.startswith(_GZIP):  # a member may be empty, and others behind it
            stream = zlib.decompressobj(31)
            found, rest = stream.decompress(rest), stream.unused_data
    except zlib.error:
        return head
    return found if head.startswith(_GZIP) else head


def holds_nothing(head: bytes) -> bool:
    """Returns whether a file of which these are the first 4 KiB is empty, or packs nothing, or has blank lines alone.

    Such a file is of whatever format the others beside it are: writers leave one where a part of their work had no record.
    """
    if not head.strip():
        return True
    try:
        if head.startswith(_GZIP):
            return _packs_nothing(head, lambda: zlib.decompressobj(31))
        if is_bzip2(head, ".bz2"):
            return _packs_nothing(head, bz2.BZ2Decompressor)
        if head.startswith(_XZ):
            return _packs_nothing(head, lzma.LZMADecompressor)
        if head.startswith(_ZSTD):
            return not pa.CompressedInputStream(pa.BufferReader(head), "zstd").read(_MOST).strip()
    except (zlib.error, OSError, EOFError, lzma.LZMAError, pa.ArrowException):
        pass
    return False


def _packs_nothing(head: bytes, new: Callable[[], Any]) -> bool:
    while head:
        stream = new()
        if stream.decompress(head, _MOST).strip() or not stream.eof:
            return False
        head = stream.unused_data
    return True


def has_no_names(head: bytes, delimiter: str = ",") -> bool:
    """Returns whether a file that begins so has no row of names, and so is not the CSV that it was taken for.

    An HTML page, a pointer of Git LFS and JSON are text as well: read as CSV they would be rows of odd columns.
    """
    if not may_be_text(head.replace(delimiter.encode(), b"")):  # Hive's is a control character
        return any(head.startswith(mark) for mark, _ in _KNOWN)
    return _NO_NAMES.match(_plain(head)) is not None


def _plain(head: bytes) -> bytes:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")


def first_bytes(path: str) -> bytes:
    """Returns the first bytes of a file, as many as `said_of` needs."""
    with _paths.open_input(path) as file:
        return file.read(_SHOWN) or b""


def said_of(head: bytes) -> str:
    """Returns how a file begins, for an error: its bytes, and what they are the beginning of where that is known."""
    if not head:
        return "it is empty"
    plain = _plain(head).lower()
    known = next((text for mark, text in _KNOWN if plain.startswith(mark.lower()) or head.startswith(mark)), None)
    return f"it begins with {head[:_SHOWN]!r}" + (f", so it is {known}" if known else "")
