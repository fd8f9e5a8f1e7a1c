"""Rows of other shapes than click logs: string-heavy, 2,000 columns, long strings, lists, images, the real flights.

TFRecord beside tf.data's parser, Parquet beside pyarrow's reader. What ours reads is compared value by value with what was written, and
the numbers of each column that tf.data reads are added up beside ours.
"""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.data.shapes import SHAPES, rows_of
from cluster.benchmarking.other_readers import arrow_sums, tensorflow_reader, tensorflow_sums
from cluster.benchmarking.pairs import paired
from cluster.benchmarking.results import record_pair
from engine import Dataset, write_batches

ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "5"))
BATCH_ROWS = 1024
TITLES = {"wide": "2,000 columns", "flights": "the real flights"}


@pytest.fixture(scope="module", params=SHAPES)
def shape(request, tmp_path_factory):
    """The name of a shape, its rows, and a directory with them as TFRecord and Parquet."""
    rows, folder = rows_of(request.param), tmp_path_factory.mktemp("shape")
    for format in ("tfrecord", "parquet"):
        write_batches([rows], rows.schema, str(folder / f"rows.{format}"), format)
    return TITLES.get(request.param, request.param), rows, folder


def test_tfrecord_of_shapes_against_tf_data(benchmark, shape):
    name, rows, folder = shape
    path = str(folder / "rows.tfrecord")
    dataset = Dataset.open(path, rows.schema)
    mine = pa.Table.from_batches(dataset.read_batches(BATCH_ROWS))
    assert mine.equals(pa.Table.from_batches([rows]))
    ours, theirs = arrow_sums(dataset), tensorflow_sums(dataset)
    assert ours.names == theirs.names and all(ours.close(theirs, each) for each in ours.names)
    peer = tensorflow_reader(dataset, BATCH_ROWS)

    def read() -> None:
        assert sum(batch.num_rows for batch in dataset.read_batches(BATCH_ROWS)) == rows.num_rows

    def read_theirs() -> None:
        assert peer() == rows.num_rows

    result = paired(read, read_theirs, ROUNDS)
    what = f"TFRecord of {name}"
    record_pair(benchmark, result, "tf.data + parsing", rows.num_rows, what=what, package="tensorflow", paths=path)
    benchmark.pedantic(read, rounds=1)


def test_parquet_of_shapes_against_pyarrow(benchmark, shape):
    name, rows, folder = shape
    path = str(folder / "rows.parquet")

    def read(batches) -> None:
        assert sum(batch.num_rows for batch in batches) == rows.num_rows

    def ours() -> None:
        read(Dataset.open(path).read_batches(BATCH_ROWS))

    assert pa.Table.from_batches(Dataset.open(path).read_batches()).equals(pq.read_table(path))
    result = paired(ours, lambda: read(pq.ParquetFile(path).iter_batches(BATCH_ROWS, use_threads=False)), ROUNDS)
    what = f"Parquet of {name}"
    record_pair(benchmark, result, "pyarrow's `iter_batches`", rows.num_rows, what=what, package="pyarrow", paths=path)
    benchmark.pedantic(ours, rounds=1)
