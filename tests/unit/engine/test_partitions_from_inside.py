"""Directories `key=value` above the working directory: the same files have the same columns, from wherever they are named."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import DataError, Dataset, ingest, read_split


@pytest.fixture
def day(tmp_path):
    """A directory of one day, in which two hours are."""
    directory = tmp_path / "raw/year=2024/day=2"
    for hour in (1, 2):
        (directory / f"hour={hour}").mkdir(parents=True)
        pq.write_table(pa.table({"x": [hour]}), directory / f"hour={hour}/a.parquet")
        (directory / f"hour={hour}/a.csv").write_text(f"x\n{hour}\n")
    return directory


def _table(paths):
    return pa.Table.from_batches(list(Dataset.open(paths).read_batches())).to_pylist()


@pytest.mark.parametrize(("where", "rest"), [("", "."), ("hour=1", ".."), ("../..", "year=2024"), ("../../..", "raw")])
def test_relative_and_absolute_paths_give_the_same_columns(day, monkeypatch, where, rest):
    expected = [{"x": n, "year": 2024, "day": 2, "hour": n} for n in (1, 2)]
    monkeypatch.chdir(day / where)
    assert _table(str(day / "*/*.parquet")) == expected
    assert _table(f"{rest}/**/*.parquet") == expected
    dataset = Dataset.open(f"{rest}/**/*.parquet", filters=["year=2024", "hour>1"])
    assert [row for s in dataset.splits() for b in read_split(s, dataset.schema) for row in b.to_pylist()] == expected[
        1:
    ]
    (batch,) = dataset.feed(global_batch_size=1, num_epochs=1)
    assert batch["int64"].tolist() == [[2, 2024, 2, 2]]
    ingest(f"{rest}/**/*.csv", str(day.parents[2] / "out"), num_shards=1)
    assert _table(str(day.parents[2] / "out")) == expected


def test_one_file_named_from_its_own_directory(day, monkeypatch):
    monkeypatch.chdir(day / "hour=2")
    for form in ("a.parquet", "./a.parquet", "../hour=2/a.parquet", ["a.parquet"], "*.parquet"):
        assert _table(form) == [{"x": 2, "year": 2024, "day": 2, "hour": 2}]
    pq.write_table(pa.table({"x": [2], "day": [3]}), "a.parquet")
    with pytest.raises(DataError, match="column 'day' is 3 in the file, and its directory says day=2"):
        _table("a.parquet")
