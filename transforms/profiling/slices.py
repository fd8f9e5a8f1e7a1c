"""Slices: the records of each value of a column, or of each combination of values of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.core.errors import ConfigError, column_not_found, listed
from engine.core.text_encoding import as_text, in_quotes_if_alike
from engine.schema.lists import is_list

__all__ = ["ALL_EXAMPLES", "MOST_SLICES", "check_slices", "slices_of"]

ALL_EXAMPLES = "All Examples"
MOST_SLICES = 1000
MISSING = "<missing>"


def check_slices(slices: Sequence[Sequence[str]], schema: pa.Schema) -> None:
    """Raises ConfigError for a slice by a column that is not there, that holds lists, or by none."""
    for columns in slices:
        if not columns or not all(columns):
            raise ConfigError(f"slices: {list(columns)} names no column; give columns as carrier or carrier,origin")
        unknown = [name for name in columns if name not in schema.names]
        if unknown:
            raise ConfigError(f"slices: {column_not_found(unknown, schema.names)}")
        for name in columns:
            if is_list(schema.field(name).type):
                raise ConfigError(
                    f"slices: column {name!r} holds lists; a slice takes a column with one value a record"
                )


def slices_of(batch: pa.RecordBatch, slices: Sequence[Sequence[str]]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (name, indices of the records) of each slice that a batch has records of.

    A slice of column carrier with value UA is named carrier_UA, as in TFDV; several are joined by "_".
    A value that would make two slices of one name is in quotes.
    """
    everywhere = sorted({column for columns in slices for column in columns})
    for columns in slices:
        ids = np.zeros(batch.num_rows, np.int64)
        names = [""]
        for column in columns:
            encoded = _encoded(batch.column(column))
            found = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
            values = [f"{column}_{_shown(each, everywhere)}" for each in encoded.dictionary.to_pylist()]
            # Renumbered after each column: the product of all columns' values may be larger than the number of records.
            used, ids = np.unique(ids * max(len(values), 1) + found, return_inverse=True)
            names = [
                "_".join(filter(None, (names[each // len(values)], values[each % len(values)])))
                for each in used.tolist()
            ]
        order = np.argsort(ids, kind="stable")
        ends = np.cumsum(np.bincount(ids, minlength=len(names)))
        yield from zip(names, np.split(order, ends[:-1]))


def refuse_many(rows: Mapping[str, object]) -> None:
    """Raises ConfigError where there are more slices than statistics are kept of."""
    if len(rows) > MOST_SLICES + 1:
        raise ConfigError(
            f"slices: the columns have more than {MOST_SLICES:,} values together ({listed(rows)}); "
            "slice by columns with fewer values"
        )


def _encoded(array: pa.Array) -> pa.DictionaryArray:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):
        array = array.cast(pa.string())
    return pc.dictionary_encode(array, null_encoding="encode")


def _shown(value: object, columns: Sequence[str]) -> str:
    """A value in the name of a slice; in quotes where it would read as another: as the missing one, or as several columns' values."""
    if value is None:
        return MISSING
    text = as_text(value) if isinstance(value, (bytes, str)) else str(value)
    return in_quotes_if_alike(text, MISSING, any(f"_{column}_" in f"_{text}_" for column in columns))
