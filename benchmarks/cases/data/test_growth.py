"""How processor time grows with 1, 10 and 100 times the rows, columns, files and distinct values: fixed cost and slope apart."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.data import criteo
from benchmarks.harness.growth import grow
from engine import Dataset, ingest, write_batches

pytestmark = pytest.mark.timeout(3600)
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "5"))


def records(path: str, schema: pa.Schema | None = None) -> int:
    return sum(batch.num_rows for batch in Dataset.open(path, feature_spec=schema).read_batches())


def test_reading_tfrecord_by_rows(benchmark):
    grow(
        benchmark,
        "row",
        (1000, 10_000, 100_000),
        lambda rows: records(criteo.file(num_rows=rows), criteo.SCHEMA),
        ROUNDS,
    )


def test_feeding_by_rows(benchmark):
    def fed(rows: int) -> int:
        feed = Dataset.open(criteo.file("parquet", num_rows=rows), feature_spec=criteo.SCHEMA).feed(
            global_batch_size=500, seed=1, num_epochs=1, fill={f"I{i}": 0.0 for i in range(1, 14)}
        )
        return sum(len(batch["float32"]) for batch in feed)

    grow(benchmark, "row", (1000, 10_000, 100_000), fed, ROUNDS)


def test_reading_parquet_by_columns(benchmark, tmp_path):
    rows = 500
    for width in (20, 200, 2000):
        values = np.random.default_rng(width).standard_normal((width, rows), np.float32)
        table = pa.RecordBatch.from_arrays([pa.array(v) for v in values], [f"c{i}" for i in range(width)])
        write_batches([table], table.schema, str(tmp_path / f"{width}.parquet"), "parquet")

    def values_read(width: int) -> int:
        batches = Dataset.open(str(tmp_path / f"{width}.parquet")).read_batches()
        return sum(batch.num_rows * batch.num_columns for batch in batches)

    grow(benchmark, "column", (20, 200, 2000), values_read, ROUNDS, rows)


def _csv(path: str, columns: int, rows: int) -> str:
    with open(path, "w") as file:
        file.write(",".join(f"c{i}" for i in range(columns)) + "\n")
        file.write((",".join(str(i * 7 % 97) for i in range(columns)) + "\n") * rows)
    return path


def test_ingesting_csv_by_columns(benchmark, tmp_path):
    """Types of all values, then Parquet."""
    rows, widths = 200, (200, 1000, 5000)
    paths = {width: _csv(str(tmp_path / f"{width}.csv"), width, rows) for width in widths}

    def values_written(width: int) -> int:
        return ingest(paths[width], str(tmp_path / "out"), num_shards=1).num_records * width

    grow(benchmark, "column", widths, values_written, ROUNDS, rows)


def test_ingesting_csv_by_rows(benchmark, tmp_path):
    sizes = (1000, 10_000, 100_000)
    paths = {rows: _csv(str(tmp_path / f"{rows}.csv"), 20, rows) for rows in sizes}
    grow(
        benchmark,
        "row",
        sizes,
        lambda rows: ingest(paths[rows], str(tmp_path / "out"), num_shards=1).num_records,
        ROUNDS,
    )


def test_opening_and_reading_by_files(benchmark, tmp_path):
    source = Dataset.open(criteo.file("parquet", num_rows=10_000), feature_spec=criteo.SCHEMA)
    batch = next(iter(source.read_batches(batch_rows=100)))
    for files in (3, 30, 300):
        (tmp_path / str(files)).mkdir()
        for number in range(files):
            write_batches([batch], batch.schema, str(tmp_path / str(files) / f"{number:05d}.parquet"), "parquet")
    grow(benchmark, "file", (3, 30, 300), lambda files: records(str(tmp_path / str(files))), ROUNDS, batch.num_rows)


def test_counting_tokens_by_distinct_values(benchmark):
    from transforms.accumulators.vocabulary.token_counter import TokenCounter

    tokens = {}
    for distinct in (5000, 50_000, 500_000):
        order = np.random.default_rng(3).permutation(np.arange(500_000) % distinct)
        tokens[distinct] = pa.array([b"token %d" % value for value in order.tolist()], pa.binary())

    def counted(distinct: int) -> int:
        counter = TokenCounter()
        counter.add(tokens[distinct])
        found, counts = counter.take()
        assert counts.sum() == 500_000
        return len(found)

    grow(benchmark, "distinct value among 500,000", (5000, 50_000, 500_000), counted, ROUNDS)
