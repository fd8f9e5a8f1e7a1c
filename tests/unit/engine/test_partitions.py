"""Directories `key=value`: their keys are columns, typed and decoded as pyarrow does, wherever the data go."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from engine import ConfigError, DataError, Dataset, ingest, read_split, write_batches
from engine.dataset.inspect import write_manifest
from engine.formats.partition_filters import parse_filter
from tests.support.partitions import read_by_x, write_years


def same(ds, directory):
    """Whether Dataset and pyarrow read the same columns and rows."""
    theirs = pyarrow.dataset.dataset(str(directory), partitioning="hive").to_table().sort_by("x")
    ours = read_by_x(ds)
    assert {f.name: f.type for f in ours.schema} == {f.name: f.type for f in theirs.schema}
    assert ours.select(theirs.schema.names).to_pylist() == theirs.to_pylist()


@pytest.mark.parametrize(
    "keys",
    [
        {"year": [2024, 2024, 2025]},
        {"year": [2024, 2024, 2025], "month": ["01", "02", "x"]},
        {"c": ["a/b", None, "x y"]},
        {"n": [1, None, 2]},
        {"big": [1, 2**40, 3]},
        {"d": ["2024-01-01", "2024-01-02", "ü=1"]},
        {"z": ["007", "1", "-5"]},
        {"f": ["1.5", "2", "3"]},
        {"b": ["true", "false", "true"]},
    ],
    ids=lambda keys: "-".join(keys),
)
def test_partition_columns_equal_pyarrows(tmp_path, keys):
    pq.write_to_dataset(pa.table({**keys, "x": [1, 2, 3]}), str(tmp_path / "data"), partition_cols=list(keys))
    same(Dataset.open(str(tmp_path / "data")), tmp_path / "data")
    same(Dataset.open(str(tmp_path / "data" / "**" / "*.parquet")), tmp_path / "data")


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_directories_of_one_number_stay_two_texts(tmp_path, format):
    """pyarrow and DuckDB read 1 of both, and nobody can tell which record came from where."""
    for x, name in enumerate(["k=01", "k=1", "k=2"]):
        (tmp_path / "data" / name).mkdir(parents=True)
        rows = pa.table({"x": [x]})
        path = tmp_path / f"data/{name}/a.{format}"
        pq.write_table(rows, path) if format == "parquet" else pyarrow.csv.write_csv(rows, path)
    ingest(tmp_path / "data", tmp_path / "out")
    assert {row["x"]: row["k"] for row in read_by_x(Dataset.open(tmp_path / "out")).to_pylist()} == {
        0: "01",
        1: "1",
        2: "2",
    }
    if format == "parquet":
        assert Dataset.open(tmp_path / "data", filters=["k=1"]).num_records == 1


@pytest.fixture
def years(tmp_path):
    return write_years(str(tmp_path / "data"))


def test_columns_are_read_in_the_order_asked_for(years):
    ds = Dataset.open(years)
    assert read_by_x(ds, columns=["year", "x"]).to_pylist()[0] == {"year": 2023, "x": 1}
    only = pa.Table.from_batches(list(ds.read_batches(columns=["year"])))
    assert sorted(only["year"].to_pylist()) == [2023, 2023, 2024, 2025]
    with pytest.raises(ConfigError, match="column 'nope' not found; available columns: "):
        list(ds.read_batches(columns=["year", "nope"]))


def test_splits_carry_their_partition(years):
    ds = Dataset.open(years)
    found = [row for split in ds.splits(1) for batch in read_split(split, ds.schema) for row in batch.to_pylist()]
    assert sorted((row["year"], row["x"]) for row in found) == [(2023, 1), (2023, 2), (2024, 3), (2025, 4)]


def test_filters_skip_files_unopened(years):
    for name in os.listdir(f"{years}/year=2024"):
        with open(f"{years}/year=2024/{name}", "wb") as file:
            file.write(b"damage")
    kept = Dataset.open(years, filters=[("year", "!=", 2024)])
    assert sorted(read_by_x(kept)["x"].to_pylist()) == [1, 2, 4]
    assert read_by_x(Dataset.open(years, filters=[("year", "in", [2025]), ("year", ">", 2023)]))["x"].to_pylist() == [4]
    for wrong, message in (
        (("x", "=", 1), "filter on 'x'"),
        (("year", "~", 1), "has operator"),
        (("year", "=", "2023x"), "compares with '2023x'"),
        (("year", "=", 2023.0), "compares with 2023.0"),
        (("year", "in", "2023"), "takes a list of values"),
        (("year", "="), "expected \\(key, operator, value\\)"),
        ("year", "filter 'year': expected KEY"),
        ("year>=", "filter 'year>=': expected KEY"),
    ):
        with pytest.raises(ConfigError, match=message):
            Dataset.open(years, filters=[wrong])
    with pytest.raises(DataError, match="none of 3 files passes"):
        Dataset.open(years, filters=[("year", ">", 3000)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("year=2024", ("year", "=", "2024")),
        ("year == 2024", ("year", "==", "2024")),
        ("year>=2024", ("year", ">=", "2024")),
        ("c!=a=b", ("c", "!=", "a=b")),
        ("day in 1, 2", ("day", "in", ["1", "2"])),
        ("day  not  in 1", ("day", "not in", ["1"])),
        ("minute<5", ("minute", "<", "5")),
    ],
)
def test_filters_as_text(text, expected):
    assert parse_filter(text) == expected


@pytest.mark.parametrize(
    ("text", "rows"),
    [("year>2023", [3, 4]), ("year=2023", [1, 2]), ("year not in 2024,2025", [1, 2]), ("year in 2025", [4])],
)
def test_filters_as_text_are_those_of_pyarrow(years, text, rows):
    assert read_by_x(Dataset.open(years, filters=[text]))["x"].to_pylist() == rows
    name, sign, value = parse_filter(text)
    value = [int(each) for each in value] if isinstance(value, list) else int(value)
    field = pyarrow.dataset.field(name)
    wanted = {
        ">": field > value,
        "=": field == value,
        "in": field.isin(value) if isinstance(value, list) else None,
    }.get(sign)
    wanted = ~field.isin(value) if sign == "not in" else wanted
    theirs = pyarrow.dataset.dataset(years, partitioning="hive").to_table(filter=wanted)
    assert sorted(theirs["x"].to_pylist()) == rows


def test_a_filter_leaves_the_types_as_they_are(tmp_path):
    for number, key in enumerate(["1", "x"]):
        os.makedirs(tmp_path / f"k={key}")
        pq.write_table(pa.table({"x": [number]}), tmp_path / f"k={key}" / "a.parquet")
        (tmp_path / f"k={key}" / "a.csv").write_text(f"x\n{number}\n")
    whole = Dataset.open(tmp_path / "**" / "*.parquet").schema
    assert Dataset.open(tmp_path / "**" / "*.parquet", filters=["k=1"]).schema.equals(whole, check_metadata=True)
    ingest(tmp_path / "**" / "*.csv", tmp_path / "out", filters=[("k", "=", "1")])
    assert read_by_x(Dataset.open(tmp_path / "out")).to_pylist() == [{"x": 0, "k": "1"}]


def test_the_manifest_of_the_whole_holds_them(years):
    whole = read_by_x(Dataset.open(years))
    path = write_manifest(Dataset.open(years))
    assert path == f"{years}/_fullpass_manifest.json"
    ds = Dataset.open(years)
    assert len(ds.known_entries) == 3 and read_by_x(ds).equals(whole)
    assert read_by_x(Dataset.open(path)).equals(whole)
    listed = sorted(ds.paths)
    assert len(Dataset.open(listed).known_entries) == 3, "a list of files finds it above their directories"
    os.unlink(listed[0])
    for form in (years, f"{years}/*/*.parquet", listed[1:]):
        with pytest.raises(DataError, match="is listed in the manifest"):
            Dataset.open(form)


@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
def test_written_anew_they_are_columns_as_others(years, tmp_path, format):
    ingest(years, tmp_path / "out", format, num_shards=2)
    back = read_by_x(Dataset.open(str(tmp_path / "out")))
    assert sorted(zip(back["year"].to_pylist(), back["x"].to_pylist())) == [(2023, 1), (2023, 2), (2024, 3), (2025, 4)]
    assert not any(b"fullpass.partition" in (field.metadata or {}) for field in back.schema)
    if format == "parquet":
        assert "year" in pq.read_schema(Dataset.open(str(tmp_path / "out")).paths[0]).names


def test_the_feed_delivers_them(years):
    feed = Dataset.open(years).feed(global_batch_size=4, num_epochs=1, shuffle=False)
    (batch,) = [feed.unpack_numpy(batch) for batch in feed]
    assert sorted(zip(batch["year"].tolist(), batch["x"].tolist())) == [(2023, 1), (2023, 2), (2024, 3), (2025, 4)]


def test_tfrecord_in_such_directories_has_them_too(tmp_path):
    schema = pa.schema([pa.field("x", pa.int64(), nullable=False)])
    for year in (2023, 2024):
        rows = pa.record_batch([pa.array([year % 10])], schema=schema)
        write_batches([rows], schema, str(tmp_path / f"year={year}" / "a.tfrecord"), "tfrecord")
    ds = Dataset.open(str(tmp_path))
    assert read_by_x(ds).to_pylist() == [{"x": 3, "year": 2023}, {"x": 4, "year": 2024}]
    given = pa.schema([("year", pa.int64()), ("x", pa.int64())])
    assert read_by_x(Dataset.open(str(tmp_path), given)).to_pylist() == [{"year": 2023, "x": 3}, {"year": 2024, "x": 4}]


GAPS = ["y=2024/sub/a", "y=2025/sub/a", "y=2025/k=1/x/b/c"]


@pytest.mark.parametrize("format", ["parquet", "csv", "tfrecord"])
@pytest.mark.parametrize("names", [GAPS[:1], GAPS[:2], GAPS], ids=len)
def test_keys_above_a_directory_that_is_none_are_columns(tmp_path, format, names):
    """As Hive lays the results of a UNION ALL: `year=2024/HIVE_UNION_SUBDIR_1/`."""
    data, out = tmp_path / "e=3" / "data", tmp_path / "out"
    for number, name in enumerate(names):
        (data / name).parent.mkdir(parents=True)
        rows = pa.table({"x": [number]})
        pq.write_table(rows, f"{data / name}.parquet")
        if format == "csv":
            pyarrow.csv.write_csv(rows, f"{data / name}.csv")
        elif format == "tfrecord":
            write_batches(rows.to_batches(), rows.schema, f"{data / name}.tfrecord", "tfrecord")
    theirs = pyarrow.dataset.dataset(
        sorted(map(str, data.rglob("*.parquet"))), partitioning="hive", partition_base_dir=str(data)
    ).to_table()
    expected = theirs.sort_by("x").to_pylist()
    if format != "parquet":
        for path in data.rglob("*.parquet"):
            path.unlink()
    ingest(str(data), out, num_shards=1)
    assert read_by_x(Dataset.open(out)).to_pylist() == expected
    forms = [str(data), f"{data}/**/*.{format}"]
    if len(names) > 1:  # of one file alone nobody knows where the data set begins
        forms.append(sorted(str(path) for path in data.rglob("*.*")))
        kept = [row for row in expected if row["y"] == 2025]
        ingest(str(data), out, num_shards=1, filters=["y=2025"])
        assert read_by_x(Dataset.open(out)).to_pylist() == kept
    for form in forms if format != "csv" else ():
        dataset = Dataset.open(form)
        assert read_by_x(dataset).to_pylist() == expected
        for splits in (dataset.splits(1), [dataset.manifest.block_split(block) for block in range(len(names))]):
            rows = [row for one in splits for b in read_split(one, dataset.schema) for row in b.to_pylist()]
            assert sorted(rows, key=lambda row: row["x"]) == expected
        assert dataset.verify().ok


@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
@pytest.mark.parametrize("names", [GAPS[:1], GAPS[:2], GAPS, ["y=1/sub/k=1/a", "y=1/sub/k=2/z/a"]])
@pytest.mark.parametrize("below", [".", "all/of"])
def test_a_manifest_lies_above_the_keys_that_lie_above_other_directories(tmp_path, monkeypatch, format, names, below):
    for number, name in enumerate(names):
        rows = pa.record_batch({"x": [number]})
        write_batches([rows], rows.schema, f"{tmp_path / below / name}.{format}", format)
    whole = read_by_x(Dataset.open(tmp_path))
    assert {"x", "y"} <= set(whole.schema.names)
    monkeypatch.chdir(tmp_path)
    path = write_manifest(Dataset.open(f"**/*.{format}"))
    assert os.path.abspath(path) == str(tmp_path / below / "_fullpass_manifest.json")
    for form in (path, below, tmp_path):
        dataset = Dataset.open(form)
        assert len(dataset.known_entries) == len(names) and dataset.verify().ok
        assert read_by_x(dataset).equals(whole)


def test_keys_above_a_directory_that_is_none_reach_the_feed_and_given_schemas(tmp_path):
    for number, name in enumerate(GAPS):
        os.makedirs((tmp_path / name).parent)
        pq.write_table(pa.table({"x": [number]}), f"{tmp_path / name}.parquet")
    feed = Dataset.open(tmp_path).feed(global_batch_size=3, num_epochs=1, fill={"k": 0})
    (batch,) = map(feed.unpack_numpy, feed)
    assert sorted(zip(*(batch[name].tolist() for name in "xyk"))) == [(0, 2024, 0), (1, 2025, 0), (2, 2025, 1)]
    given = pa.schema([("y", pa.int64()), ("x", pa.int64())])
    assert read_by_x(Dataset.open(tmp_path, given)).to_pylist() == [
        {"y": y, "x": n} for n, y in enumerate((2024, 2025, 2025))
    ]
    pq.write_table(pa.table({"y": [2024], "x": [0]}), f"{tmp_path / GAPS[0]}.parquet")
    with pytest.raises(DataError, match="has column 'y' in the name of its directory alone, and other files hold it"):
        _ = Dataset.open(tmp_path).schema


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_a_value_that_is_not_that_of_a_key_above_a_directory_is_refused(tmp_path, format):
    (tmp_path / "data/y=2024/sub").mkdir(parents=True)
    path = tmp_path / f"data/y=2024/sub/a.{format}"
    rows = pa.table({"y": [2024, 2025], "x": [1, 2]})
    pq.write_table(rows, path) if format == "parquet" else pyarrow.csv.write_csv(rows, path)
    with pytest.raises(DataError, match="column 'y' is 2025 in the file, and its directory says y=2024") as caught:
        ingest(tmp_path / "data", tmp_path / "out")
    assert caught.value.path == str(path)
    if format == "parquet":
        assert "its directory says y=2024" in Dataset.open(tmp_path / "data").verify().damages[0].message
