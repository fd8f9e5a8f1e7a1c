"""How many values each row of a column has: against Arrow's own lists, one by one."""

import numpy as np
import pyarrow as pa
import pytest

from engine.schema.lists import valid_rows, value_lengths

_LEFT_BEHIND_A_NULL = pa.ListArray.from_arrays(
    pa.array([0, 2, 4, 5], pa.int32()), pa.array([1, 2, 3, 4, 5]), mask=pa.array([False, True, False])
)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1], [], None, [2, 3]]),
        pa.array([["a", "b"], None], pa.large_list(pa.large_binary())),
        pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2)),
        pa.array([1, None, 3]),
        pa.array([], pa.list_(pa.int64())),
        _LEFT_BEHIND_A_NULL,
    ],
)
@pytest.mark.parametrize("start", [0, 1])
def test_lengths_are_those_of_the_rows_themselves(column, start):
    column = column.slice(start)
    rows = column.to_pylist()
    assert valid_rows(column).tolist() == [row is not None for row in rows]
    lengths = value_lengths(column)
    assert lengths.dtype == np.int64
    assert lengths.tolist() == [0 if row is None else len(row) if isinstance(row, list) else 1 for row in rows]
