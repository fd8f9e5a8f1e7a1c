"""Avro's types as Arrow's: records as structs, named types wherever they are used again, unions of numbers as what holds all."""

from __future__ import annotations

import uuid
from typing import Any

import pyarrow as pa

from engine.core.errors import DataError

__all__ = ["arrow_schema", "object_bytes", "plain_value"]

_SIMPLE = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
_LOGICAL: dict[tuple[str, Any], pa.DataType] = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
    ("long", "timestamp-millis"): pa.timestamp("ms", "UTC"),
    ("long", "timestamp-micros"): pa.timestamp("us", "UTC"),
    ("long", "local-timestamp-millis"): pa.timestamp("ms"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
    ("string", "uuid"): pa.string(),
    ("fixed", "uuid"): pa.binary(16),  # as fastavro gives them, and Parquet has its own
}
_POINTER_BYTES = 8
_LARGEST_BYTES = 112  # of Python's objects that are no list and no record: a decimal's
_NUMBERS = {"int", "long", "float", "double"}
_MOST_BYTES = 1 << 31
_LEAST_DIGITS_OF_256, _MOST_DIGITS = 39, 76


def arrow_schema(schema: Any, path: str) -> pa.Schema:
    """Returns the columns of a file's records.

    Args:
        schema: of whoever wrote the file, as fastavro parsed it: names of types are whole.
        path: of the file, for errors.

    Raises:
        DataError: what is written is no record, or a field is of no type that a column can have.
    """
    if not isinstance(schema, dict) or schema.get("type") not in ("record", "error"):
        raise DataError("its records are not Avro records with named fields", path=path)
    types = _Types(path)
    types.open.add(schema["name"])
    return pa.schema([types.field(field["name"], field["type"]) for field in schema["fields"]])


def object_bytes(schema: pa.Schema) -> tuple[int, float]:
    """Returns (bytes that a record takes as Python has it, how many more each of its bytes in Avro can become).

    Args:
        schema: as `arrow_schema` gives it.
    """
    return _held(pa.struct(list(schema))), _times(pa.struct(list(schema)))


def plain_value(value: Any) -> Any:
    """Returns a value with UUIDs, which Arrow takes for no text, as their text, however deep."""
    if isinstance(value, list):
        return [plain_value(each) for each in value]
    if isinstance(value, dict):
        return {key: plain_value(each) for key, each in value.items()}
    return str(value) if isinstance(value, uuid.UUID) else value


def _held(kind: pa.DataType) -> int:
    """Bytes that a value takes in Python, but for those that are its own in Avro, too, and for what a list holds."""
    types = pa.types
    if types.is_struct(kind):
        return 192 + sum(_POINTER_BYTES * 4 + _held(field.type) for field in kind)
    if types.is_list(kind) or types.is_map(kind):
        return 72
    if types.is_null(kind) or types.is_boolean(kind):
        return 0
    return _LARGEST_BYTES if types.is_decimal(kind) else 56 if not types.is_primitive(kind) else 32


def _times(kind: pa.DataType) -> float:
    """The bytes in Python of a byte of Avro, at most: what lists hold may be a byte each."""
    types = pa.types
    if types.is_struct(kind):
        return max((_times(field.type) for field in kind), default=1.0)
    if types.is_map(kind):
        return max(_times(kind.item_type), (150 + _held(kind.item_type)) / 2)
    if types.is_list(kind):
        item = kind.value_type
        return max(_times(item), float(_POINTER_BYTES), (_POINTER_BYTES + _held(item)) / _least_bytes(item))
    return 1.0


def _least_bytes(kind: pa.DataType) -> int:
    """Bytes that a value which is not missing takes in Avro, at least."""
    types = pa.types
    if types.is_struct(kind):
        return max(
            1, sum(0 if types.is_null(field.type) or field.nullable else _least_bytes(field.type) for field in kind)
        )
    if types.is_float32(kind) or types.is_float64(kind):
        return int(kind.bit_width) // 8
    return max(1, kind.byte_width) if types.is_fixed_size_binary(kind) else 1


class _Types:
    """The types of one file; those with a name are kept for where the name stands."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._named: dict[str, pa.DataType] = {}
        self.open: set[str] = set()  # records whose fields are being looked at

    def field(self, name: str, kind: Any) -> pa.Field:
        if not isinstance(kind, list):
            return pa.field(name, self._type(name, kind), kind == "null")
        others = [one for one in kind if one != "null"]
        if len(others) > 1 and set(map(str, others)) <= _NUMBERS:
            whole = set(others) <= {"int", "long"}
            return pa.field(name, pa.int64() if whole else pa.float64(), "null" in kind)
        if len(others) > 1:
            said = ", ".join(_called(one) for one in others)
            raise self._refused(name, f"a union of {said}, and no column holds both")
        return pa.field(name, self._type(name, others[0]) if others else pa.null(), "null" in kind)

    def _type(self, name: str, kind: Any) -> pa.DataType:
        if isinstance(kind, list):
            return self.field(name, kind).type
        if isinstance(kind, str):
            if kind in self.open:
                raise self._refused(name, f"a {kind!r} within a {kind!r}, and no column's type holds itself")
            found = _SIMPLE.get(kind, self._named.get(kind))
            if found is None:
                raise self._refused(name, f"the named type {kind!r}, which is nowhere said")
            return found
        found = self._complex(name, kind)
        if "name" in kind:
            self._named[kind["name"]] = found
        return found

    def _complex(self, name: str, kind: dict[str, Any]) -> pa.DataType:
        logical, base = kind.get("logicalType"), kind["type"]
        if logical == "decimal" and base in ("bytes", "fixed"):
            return self._decimal(name, kind["precision"], kind.get("scale", 0))
        if isinstance(base, str) and (base, logical) in _LOGICAL:
            return _LOGICAL[base, logical]
        if base == "enum":
            return pa.string()
        if base == "fixed":
            if not 0 <= kind["size"] < _MOST_BYTES:
                raise self._refused(name, f"values of {kind['size']} bytes, and a column's have less than 2 GiB")
            return pa.binary(kind["size"])
        if base == "array":
            items = self._type(name, kind["items"])
            if _is_nothing(items):  # a count of 2^60 takes no more bytes than one of 1
                raise self._refused(name, "a list of values that take no byte, whose number nothing bounds")
            return pa.list_(pa.field("item", items))
        if base == "map":
            return pa.map_(pa.string(), self._type(name, kind["values"]))
        if base in ("record", "error"):
            self.open.add(kind["name"])
            fields = [self.field(field["name"], field["type"]) for field in kind["fields"]]
            self.open.discard(kind["name"])
            return pa.struct(fields)
        return self._type(name, base)

    def _decimal(self, name: str, precision: int, scale: int) -> pa.DataType:
        if precision > _MOST_DIGITS:
            raise self._refused(name, f"decimals of {precision} digits, and Arrow's have up to {_MOST_DIGITS}")
        return (pa.decimal128 if precision < _LEAST_DIGITS_OF_256 else pa.decimal256)(precision, scale)

    def _refused(self, name: str, what: str) -> DataError:
        return DataError(
            f"field {name!r} is {what}: give each type a field of its own where the file is written", path=self._path
        )


def _is_nothing(kind: pa.DataType) -> bool:
    """Returns whether a value of a type takes no byte in a file."""
    if pa.types.is_struct(kind):
        return all(_is_nothing(field.type) for field in kind)
    return bool(pa.types.is_null(kind) or kind == pa.binary(0))


def _called(kind: Any) -> str:
    if isinstance(kind, dict):
        return str(kind.get("logicalType") or kind.get("name") or kind["type"])
    return str(kind)
