"""Data sets in directories `key=value`, for the tests that read them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from engine import Dataset


def read_by_x(ds: Dataset, **options) -> pa.Table:
    """All rows in the order of column x."""
    return pa.Table.from_batches(list(ds.read_batches(**options))).sort_by("x")


def write_years(directory: str) -> str:
    """Writes x = 1, 2 of 2023, 3 of 2024 and 4 of 2025; returns the directory."""
    data = pa.table({"year": pa.array([2023, 2023, 2024, 2025]), "x": [1, 2, 3, 4]})
    pq.write_to_dataset(data, directory, partition_cols=["year"])
    return directory
