"""Arrays in Arrow's newer layouts as the older ones that everything here takes; `engine.schema.unify.plain_type` says which."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.schema.lists import value_lengths

__all__ = ["plain_array"]


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
