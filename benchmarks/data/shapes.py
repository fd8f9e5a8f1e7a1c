"""Rows of the shapes that tables have beside click logs, from fixed seeds; and the real flights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

__all__ = ["SHAPES", "rows_of"]


def _texts(rng: np.random.Generator, rows: int, shortest: int, longest: int) -> pa.Array:
    """Texts of letters, of unequal lengths."""
    lengths = rng.integers(shortest, longest + 1, rows)
    letters = rng.integers(97, 123, int(lengths.sum()), dtype=np.uint8)
    offsets: np.ndarray = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.Array.from_buffers(pa.binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(letters)])


def _lists(rng: np.random.Generator, rows: int, longest: int, values: Callable[[int], pa.Array]) -> pa.Array:
    lengths = rng.integers(0, longest + 1, rows)
    offsets: np.ndarray = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values(int(lengths.sum())))


def string_heavy() -> dict[str, pa.Array]:
    """60 columns of short texts and two of numbers."""
    rng, rows = np.random.default_rng(60), 10_000
    columns = {f"s{i}": _texts(rng, rows, 4, 24) for i in range(60)}
    return columns | {f"i{i}": pa.array(rng.integers(0, 1000, rows)) for i in range(2)}


def wide() -> dict[str, pa.Array]:
    """2,000 columns of numbers."""
    rng, rows = np.random.default_rng(2000), 500
    floats = {f"f{i}": pa.array(rng.standard_normal(rows, np.float32)) for i in range(1000)}
    return floats | {f"i{i}": pa.array(rng.integers(0, 10 ** (1 + i % 6), rows)) for i in range(1000)}


def long_strings() -> dict[str, pa.Array]:
    """Documents of 1 to 16 KiB."""
    rng, rows = np.random.default_rng(16), 2000
    return {"text": _texts(rng, rows, 1 << 10, 16 << 10), "label": pa.array(rng.integers(0, 2, rows))}


def lists() -> dict[str, pa.Array]:
    """Lists of up to 40 numbers and texts, empty ones among them, and a vector of 64."""
    rng, rows = np.random.default_rng(40), 10_000
    columns = {f"ids{i}": _lists(rng, rows, 40, lambda n: pa.array(rng.integers(0, 1 << 40, n))) for i in range(4)}
    columns |= {
        f"weights{i}": _lists(rng, rows, 20, lambda n: pa.array(rng.standard_normal(n, np.float32))) for i in range(2)
    }
    columns["words"] = _lists(rng, rows, 10, lambda n: _texts(rng, n, 3, 12))
    vector = pa.array(rng.standard_normal(64 * rows, np.float32))
    columns["vector"] = pa.FixedSizeListArray.from_arrays(vector, 64)
    return columns


def images() -> dict[str, pa.Array]:
    """Compressed images of 20 to 200 kB, which look like noise, and a label."""
    rng, rows = np.random.default_rng(200), 200
    return {
        "image": pa.array([rng.bytes(int(size)) for size in rng.integers(20_000, 200_000, rows)], pa.binary()),
        "label": pa.array(rng.integers(0, 1000, rows)),
    }


def flights() -> dict[str, pa.Array]:
    """The 336,776 flights that left New York in 2013: the first 40,000, without missing values, which both sides would fill differently."""
    from tests.support.nycflights import flights as real

    table = real().dropna().head(40_000)
    columns = {}
    for name in table.columns:
        values = table[name]
        if values.dtype.kind in "iu":
            columns[name] = pa.array(values.to_numpy(np.int64))
        elif values.dtype.kind == "f":
            columns[name] = pa.array(values.to_numpy(np.float32))
        else:
            columns[name] = pa.array([str(value).encode() for value in values], pa.binary())
    return columns


SHAPES: dict[str, Callable[[], dict[str, pa.Array]]] = {
    "string-heavy": string_heavy,
    "wide": wide,
    "long strings": long_strings,
    "lists": lists,
    "images": images,
    "flights": flights,
}


def rows_of(shape: str) -> pa.RecordBatch:
    """Returns the rows of a shape, which depend on its name alone."""
    columns = SHAPES[shape]()
    schema = pa.schema([pa.field(name, column.type, nullable=False) for name, column in columns.items()])
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)
