"""Whole Parquet files to Arrow: duckdb on one thread, polars on all cores (it takes no number of threads after its import)."""

from __future__ import annotations

__all__ = ["by_duckdb", "by_polars"]


def by_duckdb(path: str) -> int:
    """Returns the rows read into Arrow batches."""
    import duckdb

    connection = duckdb.connect(config={"threads": 1})
    reader = connection.sql("SELECT * FROM read_parquet($path)", params={"path": path}).to_arrow_reader(65536)
    return sum(batch.num_rows for batch in reader)


def by_polars(path: str) -> int:
    """Returns the rows read into an Arrow table."""
    import polars

    return polars.read_parquet(path).to_arrow().num_rows
