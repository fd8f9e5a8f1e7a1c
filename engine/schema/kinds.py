"""What the values of an Arrow type are, text or bytes, in whichever of Arrow's layouts: one answer for all that ask."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["is_bytes", "is_text", "is_text_or_bytes", "value_kind", "wide_integers"]


def is_text(kind: pa.DataType) -> bool:
    """Returns whether values of a type are text: with 32 or 64 bit offsets, or views."""
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Returns whether values of a type are bytes that are not said to be text, of any or of one length."""
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def is_text_or_bytes(kind: pa.DataType) -> bool:
    """Returns whether values of a type are text or bytes: TensorFlow knows both as strings."""
    return is_text(kind) or is_bytes(kind)


def value_kind(kind: pa.DataType) -> pa.DataType:
    """Returns the type of what a dictionary-encoded type stands for, and any other type itself."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def wide_integers(said: str) -> str | None:
    """Returns what is wrong with a file of integers of 128 bits and what to do; None where pyarrow says something else of it.

    Args:
        said: what pyarrow says of the file.
    """
    if "Integers with more than 64 bits not implemented" not in said:
        return None
    return (
        "has a column of integers of 128 bits (polars: Int128, UInt128), which pyarrow does not read: write it anew as text or as a "
        "decimal, in polars with .cast(pl.String) or .cast(pl.Decimal(38, 0))"
    )
