"""Where each column of a schema goes in a packed batch.

Dense columns of one kind share one array: `float32` [b, n], `int64` [b, m], `bytes` [b, k]; a column takes as many
neighbouring slots as its shape has values. TensorFlow takes over three large arrays several times faster than forty
small ones. Ragged columns (lists, and single values that may be missing) go by name, as values and row splits.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine._native import ByteRows
from engine.core.errors import ConfigError, column_not_found
from engine.schema.metadata_keys import feature_descriptions
from engine.schema.tensorflow_view import default_of, feature_type, shape_of, tensorflow_schema

__all__ = [
    "BUFFER_ORDER",
    "BYTES",
    "FLOAT32",
    "INT64",
    "ONE_BUFFER",
    "RESERVED",
    "Column",
    "Layout",
    "make_layout",
    "numpy_batch",
    "unpack_numpy",
]

FLOAT32, INT64, BYTES = _KINDS = "float32", "int64", "bytes"
RESERVED = ("mask", "record_ids")  # keys of a packed batch beside the columns
# Key of the buffer that all rows of numbers lie in where one was asked for. The wider type comes first, so that no gap lies between
# the two and the buffer's size alone tells the rows.
ONE_BUFFER, BUFFER_ORDER = "one_buffer", (INT64, FLOAT32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the data set in the packed batch.

    Attributes:
        name: column name.
        kind: "float32", "int64" or "bytes".
        ragged: goes by name, instead of into the array of its kind.
        start: first slot in the array of its kind (dense columns).
        shape: shape of one record's value; () for a single value.
        fill: value for a missing one, or None where none may be missing.
        feature: kind of TensorFlow feature that a ragged column unpacks to, "sparse" or "ragged".
    """

    name: str
    kind: str
    ragged: bool
    start: int = 0
    shape: tuple[int, ...] = ()
    fill: Any = None
    feature: str = "sparse"

    @property
    def width(self) -> int:
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Layout:
    """All columns of a packed batch, in schema order."""

    columns: tuple[Column, ...]

    def dense(self, kind: str) -> Sequence[Column]:
        """Returns the dense columns of a kind, in slot order."""
        return self._dense.get(kind, ())

    def width(self, kind: str) -> int:
        """Returns the number of slots in the array of a kind; 0 where there is none."""
        return self._widths.get(kind, 0)

    @functools.cached_property
    def row_bytes(self) -> int:
        """What a row of numbers takes."""
        return 8 * self.width(INT64) + 4 * self.width(FLOAT32)

    # Every block and batch asks for these, with the interpreter's lock held that all threads of the feed wait for.
    @functools.cached_property
    def ragged(self) -> Sequence[Column]:
        return tuple(c for c in self.columns if c.ragged)

    @functools.cached_property
    def names(self) -> Sequence[str]:
        return tuple(c.name for c in self.columns)

    @functools.cached_property
    def _dense(self) -> Mapping[str, Sequence[Column]]:
        return {kind: tuple(c for c in self.columns if c.kind == kind and not c.ragged) for kind in _KINDS}

    @functools.cached_property
    def _widths(self) -> Mapping[str, int]:
        return {kind: sum(c.width for c in columns) for kind, columns in self._dense.items()}


def make_layout(schema: pa.Schema, columns: Sequence[str] | None, fill: Mapping[str, Any] | None) -> Layout:
    """Returns the layout of a schema's columns.

    Args:
        schema: of the data set.
        columns: names to deliver, None for all.
        fill: value by column name for missing values; overrides the default that the schema gives.

    Raises:
        ConfigError: an unknown name, or a type that TensorFlow has no counterpart for.
    """
    fill = dict(fill or {})
    names = list(columns) if columns is not None else schema.names
    known = set(schema.names)
    unknown = [name for name in [*names, *fill] if name not in known]
    if unknown:
        raise ConfigError(column_not_found(unknown, schema.names))
    used = {FLOAT32: 0, INT64: 0, BYTES: 0}
    made = []
    taken = [name for name in names if name in RESERVED]
    if taken:
        raise ConfigError(
            f"column {taken[0]!r} has a name that the feed uses itself: rename it, or leave it out of `columns`"
        )
    for name in names:
        column = _column(schema.field(name), fill.get(name))
        if not column.ragged:
            column = dataclasses.replace(column, start=used[column.kind])
            used[column.kind] += column.width
        elif name in used:
            raise ConfigError(
                f"a column with lists or missing values cannot be named {name!r}: rename it or give `fill`"
            )
        made.append(column)
    return Layout(tuple(made))


def _column(field: pa.Field, fill: Any) -> Column:
    kind = tensorflow_schema(pa.schema([field])).field(0).type
    fill = default_of(field) if fill is None else fill
    if pa.types.is_fixed_size_list(field.type) and (fill is not None or not field.nullable):
        kind = _kind(field, kind.value_type)
        return Column(name=field.name, kind=kind, ragged=False, shape=tuple(shape_of(field)), fill=fill)
    if pa.types.is_list(kind):
        ragged = any(description["kind"] == "ragged" for description in feature_descriptions(field))
        feature = "ragged" if ragged else "sparse"
        return Column(name=field.name, kind=_kind(field, kind.value_type), ragged=True, feature=feature)
    ragged = field.nullable and fill is None
    return Column(name=field.name, kind=_kind(field, kind), ragged=ragged, fill=fill)


def _kind(field: pa.Field, value: pa.DataType) -> str:
    """The kind of a column whose values TensorFlow sees as `value`."""
    if pa.types.is_nested(value):
        raise ConfigError(
            f"column {field.name!r} is of type {field.type}, which cannot be fed to TensorFlow: leave it out of `columns`, or "
            "convert it to numbers, strings or lists of these"
        )
    return feature_type(value)


def numpy_batch(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an assembled batch with its bytes as Python objects: "bytes" object [b, k], ragged ones object [v]."""
    out: dict[str, Any] = {}
    for key, value in batch.items():
        if isinstance(value, ByteRows):
            out[key] = np.empty((len(value), value.width), object)
            value.to_objects(out[key])
        elif isinstance(value, tuple) and isinstance(value[0], pa.Array):
            out[key] = value[0].to_numpy(zero_copy_only=False), value[1]
        else:
            out[key] = value
    return out


def unpack_numpy(layout: Layout, packed: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns of a packed numpy batch by name, as views; see `Feed.unpack_numpy`."""
    out: dict[str, Any] = {key: packed[key] for key in RESERVED if key in packed}
    for c in layout.columns:
        if c.ragged:
            out[c.name] = packed[c.name]
        else:
            part = packed[c.kind][:, c.start : c.start + c.width]
            out[c.name] = part.reshape(len(part), *c.shape) if c.shape else part[:, 0]
    return out
