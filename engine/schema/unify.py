"""One schema for files whose own differ: as Arrow's `promote_options="permissive"` unifies them, and said once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pyarrow as pa

from engine.core.errors import DataError
from engine.schema.plain_layouts import plain_schema

__all__ = ["Unified", "unify_schemas"]

_MOST_DIGITS, _MOST_DIGITS_OF_256 = 38, 76
_SAID = 5  # columns that are named before the rest is counted


@dataclasses.dataclass(frozen=True)
class Unified:
    """The common schema, and what had to be widened for it.

    Args:
        schema: of all files.
        notes: a sentence for each column that is not the same in all files.
    """

    schema: pa.Schema
    notes: tuple[str, ...]


def unify_schemas(found: Iterable[tuple[str, pa.Schema]]) -> Unified:
    """Returns the schema that the rows of all files fit: types widened, columns that some files lack nullable.

    Args:
        found: (file, its schema), in the order of the files.

    Raises:
        DataError: a column whose types have none in common, with both files; or two columns of one name.
    """
    columns: dict[str, _Column] = {}
    distinct: list[tuple[pa.Schema, str]] = []
    for path, own in found:
        schema = plain_schema(own, path)
        if not distinct or not any(schema.equals(seen) for seen, _ in distinct):
            distinct.append((schema, path))
    for schema, path in distinct:
        for field in schema:
            known = columns.get(field.name)
            if known is None:
                columns[field.name] = _Column(field, path)
            else:
                known.add(field, path)
    names = [(set(schema.names), path) for schema, path in distinct]
    fields, notes = [], []
    for name, column in columns.items():
        lacking = [path for own, path in names if name not in own]
        fields.append(column.field.with_nullable(column.field.nullable or bool(lacking)))
        notes += column.notes(lacking)
    if len(notes) > _SAID:
        notes = [*notes[:_SAID], f"and so in {len(notes) - _SAID} more columns"]
    return Unified(pa.schema(fields), tuple(notes))


class _Column:
    """One column of all files so far."""

    def __init__(self, field: pa.Field, path: str) -> None:
        self.field = field
        self._seen: dict[pa.DataType, str] = {field.type: path}

    def add(self, field: pa.Field, path: str) -> None:
        if field.type != self.field.type:
            self._seen.setdefault(field.type, path)
            widened = _common_type(self.field.type, field.type)
            if widened is None:
                kind, first = next(iter(self._seen.items()))
                raise DataError(
                    f"column {field.name!r} is {field.type}, in {first} it is {kind}, and no type holds both: write one of "
                    "them anew, or open them as two data sets",
                    path=path,
                )
            self.field = self.field.with_type(widened)
        if field.nullable and not self.field.nullable:
            self.field = self.field.with_nullable(True)

    def notes(self, lacking: list[str]) -> list[str]:
        name, said = self.field.name, []
        if len(self._seen) > 1:
            types = ", ".join(f"{kind} in {path}" for kind, path in list(self._seen.items())[:3])
            said.append(f"column {name!r} is {types}: it is read as {self.field.type}")
        if lacking:
            said.append(f"column {name!r} is not in {lacking[0]}: it is missing in each of that file's records")
        return said


def _common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    plain = _decoded(first), _decoded(second)
    for one, other in ((first, second), plain, _of_256(*plain)):
        try:
            merged = pa.unify_schemas([pa.schema([("", one)]), pa.schema([("", other)])], promote_options="permissive")
        except (pa.ArrowTypeError, pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
        return _wide_enough(merged.field(0).type, one, other)
    return None


def _wide_enough(merged: pa.DataType, *kinds: pa.DataType) -> pa.DataType:
    """A decimal that whole numbers of any of the types fit: Arrow's own has a digit less than its cast asks for."""
    whole = [kind for kind in kinds if pa.types.is_integer(kind)]
    if not whole or not pa.types.is_decimal(merged):
        return merged
    digits = max(len(str(1 << (kind.bit_width - pa.types.is_signed_integer(kind)))) for kind in whole)
    precision = min(max(merged.precision, digits + merged.scale), _MOST_DIGITS_OF_256)
    wide = precision > _MOST_DIGITS or pa.types.is_decimal256(merged)
    return (pa.decimal256 if wide else pa.decimal128)(precision, merged.scale)


def _of_256(*kinds: pa.DataType) -> tuple[pa.DataType, ...]:
    """Decimals as those of 256 bits, which Arrow does not widen others to."""
    wide = pa.types.is_decimal
    return tuple(pa.decimal256(kind.precision, kind.scale) if wide(kind) else kind for kind in kinds)


def _decoded(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
