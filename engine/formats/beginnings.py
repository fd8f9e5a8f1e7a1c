"""What a file really is whose name says something else, by its first bytes."""

from __future__ import annotations

from engine.storage import paths as _paths

__all__ = ["first_bytes", "said_of"]

_SHOWN = 40
_KNOWN = (
    (b"version https://git-lfs", "a Git LFS pointer: fetch the data with `git lfs pull`"),
    (b"<!doctype html", "an HTML page: whatever downloaded it was answered with an error page or a log-in"),
    (b"<html", "an HTML page: whatever downloaded it was answered with an error page or a log-in"),
    (b"<?xml", "XML, such as an error that an object store answered with"),
    (b"{", "JSON"),
    (b"PAR1", "the beginning of a Parquet file: it was cut off, or is still being written"),
    (b"PARE", "an encrypted Parquet file"),
    (b"Salted__", "a file encrypted by openssl: decrypt it first"),
    (b"age-encryption.org", "a file encrypted by age: decrypt it first"),
    (b"-----BEGIN PGP", "a file encrypted by PGP: decrypt it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x89HDF", "HDF5"),
    (b"\x93NUMPY", "a NumPy array"),
)


def first_bytes(path: str) -> bytes:
    """Returns the first bytes of a file, as many as `said_of` needs."""
    with _paths.open_input(path) as file:
        return file.read(_SHOWN) or b""


def said_of(head: bytes) -> str:
    """Returns how a file begins, for an error: its bytes, and what they are the beginning of where that is known."""
    if not head:
        return "it is empty"
    plain = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    known = next((text for mark, text in _KNOWN if plain.startswith(mark.lower()) or head.startswith(mark)), None)
    return f"it begins with {head[:_SHOWN]!r}" + (f", so it is {known}" if known else "")
