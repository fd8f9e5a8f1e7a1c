"""Columns of Arrow batches as flat values, without TensorFlow."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["ColumnInput", "drop_vocabulary_noise", "flat_values"]

# TFT's filter of vocabularies in text files: empty strings and strings with line ends are left out.
_NEWLINE_REGEX = r"^$|\C*[\n\r]\C*"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnInput:
    """A column that reaches an accumulator untouched.

    Attributes:
        feature: its name.
        cast: numpy dtype that the graph casts it to, or None.
        filter_regex: strings that match it wholly are left out, or None.
    """

    feature: str
    cast: str | None = None
    filter_regex: str | None = None

    def read(self, batch: pa.RecordBatch) -> pa.Array:
        """Returns the flat values of the column."""
        values = flat_values(batch.column(self.feature))
        if self.cast is not None:
            values = pa.array(values.to_numpy(zero_copy_only=False).astype(self.cast))
        if self.filter_regex == _NEWLINE_REGEX:
            values = drop_vocabulary_noise(values)
        elif self.filter_regex is not None:
            raise ValueError(f"filter {self.filter_regex!r} has no Arrow form")
        return values


def flat_values(column: pa.Array) -> pa.Array:
    """Returns the values of a column as one flat array without nulls: lists of any depth are flattened."""
    while (
        pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type)
    ):
        column = column.flatten()
    return column.drop_null() if column.null_count else column


def drop_vocabulary_noise(values: pa.Array) -> pa.Array:
    """Returns string values without empty ones and those with a line end.

    The bytes are searched as a whole first, so that clean columns (nearly all) cost next to nothing.
    """
    if pa.types.is_dictionary(values.type):
        words = values.dictionary
        if len(drop_vocabulary_noise(words)) == len(words):
            return values
        return drop_vocabulary_noise(values.dictionary_decode())
    if not len(values) or not (_has_empty(values) or _has_line_end(values)):
        return values
    bad = pc.or_(pc.equal(pc.binary_length(values), 0), pc.match_substring(values, "\n"))
    return values.filter(pc.invert(pc.or_(bad, pc.match_substring(values, "\r"))))


def _offsets(values: pa.Array) -> np.ndarray:
    wide = pa.types.is_large_binary(values.type) or pa.types.is_large_string(values.type)
    dtype = np.int64 if wide else np.int32
    return np.frombuffer(values.buffers()[1], dtype, len(values) + 1, values.offset * np.dtype(dtype).itemsize)


def _has_empty(values: pa.Array) -> bool:
    offsets = _offsets(values)
    return bool((offsets[1:] == offsets[:-1]).any())


def _has_line_end(values: pa.Array) -> bool:
    data = values.buffers()[2]
    if data is None:
        return False
    offsets = _offsets(values)
    text = data.slice(int(offsets[0]), int(offsets[-1] - offsets[0])).to_pybytes()
    return b"\n" in text or b"\r" in text
