"""What is said of files that are no Parquet that can be read: another format, cut off, or encrypted."""

from __future__ import annotations

from engine.core.errors import DataError
from engine.formats.beginnings import first_bytes, said_of
from engine.schema.kinds import wide_integers

__all__ = ["encrypted", "not_parquet"]


def encrypted(path: str) -> DataError:
    """Returns the error for a file that only its keys open."""
    return DataError(
        "is an encrypted Parquet file, for which there are no keys here: decrypt it where its keys are "
        "(pyarrow.parquet.encryption) and write it anew",
        path=path,
    )


def not_parquet(path: str, size_bytes: int, error: Exception) -> DataError:
    """Returns the error for a file that cannot be opened, which says what it looks like.

    Args:
        path: of the file.
        size_bytes: of it.
        error: what the library says of it.
    """
    head = first_bytes(path)
    if head.startswith(b"PARE"):
        return encrypted(path)
    if head.startswith(b"PAR1") and (wide := wide_integers(str(error))):
        return DataError(wide, path=path)
    if head.startswith(b"PAR1"):
        return DataError(
            f"is not a whole Parquet file: {error}. It may be cut off or still being written",
            path=path,
            offset_bytes=max(size_bytes - 8, 0),
        )
    return DataError(f"is not a Parquet file: {said_of(head)}", path=path, offset_bytes=0)
