"""Files whose times are in several units, read as numbers or texts: counted in the one unit that fits all, as pyarrow unifies them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from engine import DataError, Dataset, ingest
from engine.dataset.inspect import write_manifest

SECONDS = [1_700_000_000, 1_700_000_001, 1_700_000_002]
TYPES = {
    "timestamp": [pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("s")],
    "zoned": [pa.timestamp("us", "UTC"), pa.timestamp("ms", "UTC"), pa.timestamp("ns", "UTC")],
    "duration": [pa.duration("ms"), pa.duration("us"), pa.duration("s")],
    "list": [pa.list_(pa.timestamp("us")), pa.list_(pa.timestamp("ms")), pa.list_(pa.timestamp("ns"))],
}


def column(kind, second):
    inside = kind.value_type if pa.types.is_list(kind) else kind
    count = second * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[inside.unit]
    values = pa.array([count, None if pa.types.is_list(kind) else count + 7], pa.int64()).cast(inside)
    return pa.ListArray.from_arrays(pa.array([0, 1, 2]), values) if pa.types.is_list(kind) else values


@pytest.fixture(params=TYPES)
def files(request, tmp_path):
    """(directory, all rows as pyarrow has them, in the files' common unit, type of a row's numbers)."""
    kinds, tables = TYPES[request.param], []
    (tmp_path / "in").mkdir()
    for number, (kind, second) in enumerate(zip(kinds, SECONDS)):
        tables.append(pa.table({"t": column(kind, second), "n": [2 * number, 2 * number + 1]}))
        pyarrow.feather.write_feather(tables[-1], str(tmp_path / f"in/{number}.feather"))
    whole = pa.concat_tables(tables, promote_options="permissive")
    numbers = pa.list_(pa.int64()) if request.param == "list" else pa.int64()
    return tmp_path / "in", whole.set_column(0, "t", whole["t"].cast(numbers)).to_pylist(), numbers


def rows_of(dataset):
    return [row for batch in dataset.read_batches() for row in batch.to_pylist()]


def test_numbers_are_counted_in_the_unit_that_fits_all_files(files, tmp_path):
    directory, expected, numbers = files
    schema = pa.schema([("t", numbers), ("n", pa.int64())])
    dataset = Dataset.open(directory, schema)
    assert rows_of(dataset) == expected
    found = [row for split in dataset.splits(1) for row in rows_of(Dataset.open(split.path, dataset.schema))]
    assert found == expected, "whoever reads one file alone counts as all do"
    dataset.write(tmp_path / "written", num_shards=2)
    assert sorted(rows_of(Dataset.open(tmp_path / "written")), key=lambda row: row["n"]) == expected
    assert b"fullpass.times" not in (tmp_path / "written" / "data-00000-of-00002.parquet").read_bytes()
    ingest(directory, tmp_path / "ingested", num_shards=1, feature_spec=schema)
    assert rows_of(Dataset.open(tmp_path / "ingested")) == expected


def test_a_manifest_says_the_unit_of_all_files(files):
    directory, expected, numbers = files
    write_manifest(Dataset.open(directory))
    schema = pa.schema([("t", numbers), ("n", pa.int64())])
    assert rows_of(Dataset.open(directory, schema)) == expected


def parquet(directory, *kinds):
    for number, (kind, second) in enumerate(zip(kinds, SECONDS)):
        pq.write_table(pa.table({"t": column(kind, second).slice(0, 1)}), directory / f"{number}.parquet")


def test_a_feature_spec_and_the_feed_count_so_too(tmp_path):
    import tensorflow as tf

    parquet(tmp_path, *TYPES["timestamp"][:2])
    dataset = Dataset.open(tmp_path, {"t": tf.io.FixedLenFeature([], tf.int64)})
    feed = dataset.feed(global_batch_size=2, num_epochs=1, shuffle=False)
    (batch,) = [feed.unpack_numpy(batch)["t"] for batch in feed]
    assert np.array_equal(batch, np.array(SECONDS[:2]) * 10**9)


def test_texts_are_written_in_one_unit(tmp_path):
    parquet(tmp_path, pa.timestamp("us"), pa.timestamp("ms"))
    found = [row["t"] for row in rows_of(Dataset.open(tmp_path, pa.schema([("t", pa.string())])))]
    assert found == [f"2023-11-14 22:13:2{second}.000000" for second in (0, 1)]


def test_files_of_one_unit_keep_it(tmp_path):
    parquet(tmp_path, pa.timestamp("ms"), pa.timestamp("ms"))
    assert [row["t"] for row in rows_of(Dataset.open(tmp_path, pa.schema([("t", pa.int64())])))] == [
        second * 1000 for second in SECONDS[:2]
    ]


def test_times_beside_numbers_are_refused(tmp_path):
    parquet(tmp_path, pa.timestamp("us"))
    pq.write_table(pa.table({"t": [5]}), tmp_path / "1.parquet")
    with pytest.raises(DataError, match=r"column 't' is int64, in .*0.parquet it is timestamp\[us\]"):
        rows_of(Dataset.open(tmp_path, pa.schema([("t", pa.int64())])))
