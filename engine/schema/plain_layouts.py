"""Schemas, types and arrays in Arrow's newer layouts as the older ones that everything here takes."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.core.errors import DataError
from engine.schema.lists import value_lengths
from engine.schema.metadata_keys import SHAPE

__all__ = ["plain_array", "plain_schema", "plain_type"]

# Values of dictionaries that lie inside of others and are left so: Arrow casts text to a dictionary alone, and decodes none of views.
_LEFT = (pa.string(), pa.binary(), pa.large_string(), pa.large_binary(), pa.string_view(), pa.binary_view())


def plain_schema(schema: pa.Schema, path: str) -> pa.Schema:
    """Returns a file's schema without its metadata, in types that everything here takes.

    Raises:
        DataError: two columns of one name, or tensors whose axes are stored in another order.
    """
    places: dict[str, int] = {}
    for index, field in enumerate(schema):
        if field.name in places:
            raise DataError(
                f"columns {places[field.name]} and {index} are both named {field.name!r}: which one is meant is not clear; rename "
                "one where the file is written",
                path=path,
            )
        places[field.name] = index
    return pa.schema([_plain_field(field, path) for field in schema])


def _plain_field(field: pa.Field, path: str) -> pa.Field:
    kind = plain_type(field.type)
    if kind == field.type:
        return field
    if isinstance(field.type, pa.FixedShapeTensorType):
        order = field.type.permutation
        if order is not None and list(order) != sorted(order):
            raise DataError(
                f"column {field.name!r} holds tensors whose axes are stored in another order (permutation {list(order)}): write "
                "them as they lie in memory",
                path=path,
            )
        shape = json.dumps(list(field.type.shape)).encode()
        return field.with_type(kind).with_metadata({**(field.metadata or {}), SHAPE: shape})
    return field.with_type(kind)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Returns the type that we use for one of Arrow's newer layouts: views as what they view, extensions as stored.

    A dictionary that pyarrow cannot make again of its values is read as those, which it writes without a word.
    """
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if types.is_string_view(kind):
        return pa.string()
    if types.is_binary_view(kind):
        return pa.binary()
    if types.is_list_view(kind):
        return pa.list_(plain_type(kind.value_type))
    if types.is_large_list_view(kind):
        return pa.large_list(plain_type(kind.value_type))
    if types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if types.is_dictionary(kind):
        values = plain_type(kind.value_type)
        return kind if values == kind.value_type and not types.is_float16(values) else values
    if not types.is_nested(kind):
        return kind
    if types.is_list(kind) or types.is_large_list(kind):
        inside = _without_dictionaries(plain_type(kind.value_type))
        return kind if inside == kind.value_type else (pa.list_ if types.is_list(kind) else pa.large_list)(inside)
    return _without_dictionaries(kind)


def _without_dictionaries(kind: pa.DataType) -> pa.DataType:
    """The type of what lies inside of another, with dictionaries as their values where pyarrow makes none again."""
    types = pa.types

    def inside(field: pa.Field) -> pa.Field:
        return field.with_type(_without_dictionaries(field.type))

    if types.is_dictionary(kind):
        return kind if kind.value_type in _LEFT else plain_type(kind.value_type)
    if types.is_list(kind):
        return pa.list_(inside(kind.value_field))
    if types.is_large_list(kind):
        return pa.large_list(inside(kind.value_field))
    if types.is_fixed_size_list(kind):
        return pa.list_(inside(kind.value_field), kind.list_size)
    if types.is_struct(kind):
        return pa.struct([inside(field) for field in kind])
    if types.is_map(kind):
        return pa.map_(inside(kind.key_field), inside(kind.item_field), kind.keys_sorted)
    return kind


def plain_array(array: pa.Array) -> pa.Array:
    """Returns run-end-encoded values as one each, list views as lists, dictionaries of views as what they view, and nulls that a
    dictionary holds as missing values.

    pyarrow casts neither: of a list view with a null it makes an array that is not valid. Nulls of a dictionary it does not
    count, nor does Parquet take them. Any other array is returned as it is.
    """
    types, kind = pa.types, array.type
    if types.is_run_end_encoded(kind):
        return plain_array(pc.run_end_decode(array))
    if types.is_dictionary(kind) and (types.is_string_view(kind.value_type) or types.is_binary_view(kind.value_type)):
        plain = pa.string() if types.is_string_view(kind.value_type) else pa.binary()
        return array.dictionary.cast(plain).take(array.indices)  # which Arrow does not decode
    if types.is_dictionary(kind) and array.dictionary.null_count:
        return _dictionary(array)
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        return _lists(array, plain_array(array.flatten()), types.is_large_list_view(kind))
    if types.is_list(kind) or types.is_large_list(kind):
        values = array.flatten()
        plain = plain_array(values)
        return array if plain is values else _lists(array, plain, types.is_large_list(kind))
    return array


def _dictionary(array: pa.DictionaryArray) -> pa.DictionaryArray:
    """The values of an array, with a dictionary without the nulls of its own, in the same order."""
    missing = array.dictionary.is_null().to_numpy(zero_copy_only=False)
    places = pa.array(np.cumsum(~missing) - 1, mask=missing).cast(array.type.index_type)
    values = array.dictionary.filter(pa.array(~missing))
    return pa.DictionaryArray.from_arrays(places.take(array.indices), values, ordered=array.type.ordered)


def _lists(array: pa.Array, values: pa.Array, large: bool) -> pa.Array:
    """Lists as long as those of an array, of values that follow one another."""
    offsets = np.concatenate([[0], np.cumsum(value_lengths(array))])
    return (pa.LargeListArray if large else pa.ListArray).from_arrays(
        pa.array(offsets, pa.int64() if large else pa.int32()),
        values,
        mask=array.is_null() if array.null_count else None,
    )
