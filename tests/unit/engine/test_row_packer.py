"""Columns of numbers packed into rows, of every type that the feed takes, beside numpy's own of Python's values."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

from engine import DataError
from engine.feed.columns import make_layout
from engine.feed.pack import NUMPY_TYPES, RowPacker

ROWS = 1000
_RNG = np.random.default_rng(0)


def of(kind, values, nullable=False):
    return pa.field("x", kind, nullable), pa.array(values, kind)


PLAIN = {
    "f32": of(pa.float32(), _RNG.normal(size=ROWS).astype(np.float32)),
    "i64": of(pa.int64(), _RNG.integers(-(1 << 62), 1 << 62, ROWS)),
    "f32x3": of(pa.list_(pa.float32(), 3), _RNG.normal(size=(ROWS, 3)).astype(np.float32).tolist()),
    "i64x2": of(pa.list_(pa.int64(), 2), _RNG.integers(0, 99, (ROWS, 2)).tolist()),
    "i64x1": of(pa.list_(pa.int64(), 1), _RNG.integers(0, 99, (ROWS, 1)).tolist()),
}
OTHER = {
    "f64": of(pa.float64(), _RNG.normal(size=ROWS)),
    "f16": of(pa.float16(), _RNG.normal(size=ROWS).astype(np.float16)),
    "i8": of(pa.int8(), _RNG.integers(-128, 128, ROWS)),
    "u32": of(pa.uint32(), _RNG.integers(0, 1 << 32, ROWS)),
    "bool": of(pa.bool_(), (_RNG.random(ROWS) < 0.5).tolist()),
    "code": of(pa.dictionary(pa.int32(), pa.int64()), _RNG.integers(5, 9, ROWS).tolist()),
    "date": of(pa.date32(), [datetime.date(2020, 1, 1) + datetime.timedelta(int(d)) for d in range(ROWS)]),
    "filled": of(pa.float32(), [None if i % 3 else float(i) for i in range(ROWS)], nullable=True),
    "f64x3": of(pa.list_(pa.float64(), 3), _RNG.normal(size=(ROWS, 3)).tolist()),
}


def batch_of(columns):
    fields = [field.with_name(name) for name, (field, _) in columns.items()]
    return pa.RecordBatch.from_arrays([array for _, array in columns.values()], schema=pa.schema(fields))


def packed(batch, layout, packer):
    outs = {k: np.full((batch.num_rows, layout.width(k)), 77, t) for k, t in NUMPY_TYPES.items() if layout.width(k)}
    packer.pack(batch, outs)
    return outs


def expected(batch, layout, name):
    column = next(c for c in layout.columns if c.name == name)
    array = batch.column(name)
    if array.type == pa.date32():
        array = array.cast(pa.int32())
    values = [column.fill if v is None else v for v in array.to_pylist()]
    return column, np.array(values).astype(NUMPY_TYPES[column.kind]).reshape(batch.num_rows, column.width)


@pytest.mark.parametrize("cut", [(0, ROWS), (3, 500), (ROWS - 1, 1), (7, 0)])
def test_packed_columns_equal_numpy(cut):
    whole = batch_of({**PLAIN, **OTHER, "last": PLAIN["f32"]})
    layout = make_layout(whole.schema, None, {"filled": -1.5})
    packer = RowPacker(layout)
    batch = whole.slice(*cut)
    outs = packed(batch, layout, packer)
    for name in batch.schema.names:
        column, want = expected(batch, layout, name)
        np.testing.assert_array_equal(outs[column.kind][:, column.start : column.start + column.width], want, name)


def test_plain_columns_take_no_call_but_one():
    batch = batch_of({**PLAIN, "f64": OTHER["f64"]}).slice(5, 100)
    layout = make_layout(batch.schema, None, None)
    packer = RowPacker(layout)
    outs = [np.empty((100, layout.width(k)), t) for k, t in NUMPY_TYPES.items()]
    left = packer.native.pack(*batch.__arrow_c_array__(), outs)
    assert [packer._columns[i].name for i in left] == ["f64"]


def test_columns_are_taken_by_name_not_by_place():
    layout = make_layout(batch_of(PLAIN).schema, None, None)
    turned = batch_of(dict(reversed(PLAIN.items())))
    for one, other in zip(
        packed(turned, layout, RowPacker(layout)).values(), packed(batch_of(PLAIN), layout, RowPacker(layout)).values()
    ):
        np.testing.assert_array_equal(one, other)


def test_lists_of_no_values_take_no_slots():
    empty = pa.field("none", pa.list_(pa.int64(), 0), False)
    arrays = [pa.array([[]] * 3, empty.type), pa.array([1.0, 2.0, 3.0], pa.float32())]
    batch = pa.RecordBatch.from_arrays(arrays, schema=pa.schema([empty, pa.field("f", pa.float32(), False)]))
    layout = make_layout(batch.schema, None, None)
    assert packed(batch, layout, RowPacker(layout))["float32"].tolist() == [[1.0], [2.0], [3.0]]


def test_a_missing_value_within_a_fixed_list_is_refused():
    field, _ = PLAIN["f32x3"]
    holed = pa.array([[1.0, 2.0, 3.0], [1.0, None, 3.0]], field.type)
    batch = pa.RecordBatch.from_arrays([holed], schema=pa.schema([field]))
    layout = make_layout(batch.schema, None, None)
    with pytest.raises(DataError, match="missing value") as caught:
        packed(batch, layout, RowPacker(layout))
    assert caught.value.record == 1


def test_arrays_that_do_not_fit_the_batch_are_refused():
    batch = batch_of({"i": PLAIN["i64"], "f": PLAIN["f32"]})
    packer = RowPacker(make_layout(batch.schema, None, None)).native
    capsules = batch.__arrow_c_array__()
    for outs in (
        [],
        [np.empty((ROWS, 1), np.int64)],
        [np.empty((ROWS, 1), np.int64), np.empty((ROWS, 0), np.float32)],
        [np.empty((ROWS - 1, 1), np.int64), np.empty((ROWS - 1, 1), np.float32)],
        [np.empty((ROWS, 2), np.int64)[:, :1], np.empty((ROWS, 1), np.float32)],
    ):
        with pytest.raises(ValueError, match=r"packed arrays|writable, contiguous"):
            packer.pack(*capsules, outs)
