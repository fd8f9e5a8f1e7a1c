"""Columns that files and the `key=value` directories above them both have: read from the files, and held to the directories."""

from __future__ import annotations

import datetime
import decimal
import os

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from engine import DataError, Dataset, ingest, read_split
from engine.dataset.inspect import write_manifest
from tests.support.partitions import read_by_x, write_years

DAY = datetime.datetime.fromisoformat("2024-01-02")


@pytest.fixture
def years(tmp_path):
    return write_years(str(tmp_path / "data"))


def test_a_column_that_the_file_has_is_read_from_it(tmp_path):
    """As polars writes partitions: the key is in the files as well."""
    os.makedirs(tmp_path / "year=2024")
    pq.write_table(pa.table({"x": [1], "year": pa.array([2024], pa.int64())}), tmp_path / "year=2024" / "a.parquet")
    assert read_by_x(Dataset.open(str(tmp_path))).to_pylist() == [{"x": 1, "year": 2024}]
    assert Dataset.open(str(tmp_path)).schema.field("year").type == pa.int64()


def test_a_column_that_only_some_files_hold_themselves_is_refused(years):
    """It would be missing where the directory names it."""
    pq.write_table(pa.table({"x": [9], "year": [2030]}), f"{years}/year=2025/more.parquet")
    with pytest.raises(
        DataError, match="has column 'year' in the name of its directory alone, and other files hold it"
    ) as caught:
        Dataset.open(years).schema  # noqa: B018
    assert "year=20" in caught.value.path and "more" not in caught.value.path


def test_two_directories_of_one_key_are_refused_where_they_differ(tmp_path):
    for keys in ("k=1/k=1", "k=1/k=2"):
        os.makedirs(tmp_path / keys)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "k=1/k=1/a.parquet")
    assert read_by_x(Dataset.open(tmp_path)).to_pylist() == [{"x": 1, "k": 1}]
    pq.write_table(pa.table({"x": [2]}), tmp_path / "k=1/k=2/a.parquet")
    with pytest.raises(DataError, match="lies in two directories k=VALUE that say different values") as caught:
        Dataset.open(tmp_path).schema  # noqa: B018
    assert caught.value.path == str(tmp_path / "k=1/k=2/a.parquet")


@pytest.mark.parametrize(
    ("values", "directory"),
    [
        (pa.array([2024, 2025]), "k=2024"),
        (pa.array([2024, None]), "k=2024"),
        (pa.array(["a", "b"]), "k=a"),
        (pa.array([0.5, 0.25]), "k=0.5"),
        (pa.array([1, 2]), "k=__HIVE_DEFAULT_PARTITION__"),
        (pa.array([1, 2]), "k=one"),
        (pa.array([[7], [7, 7]]), "k=7"),
        (pa.array(["x", "y"]).dictionary_encode(), "k=x"),
    ],
    ids=["numbers", "null", "text", "fractions", "missing", "other type", "lists", "dictionary"],
)
def test_a_value_that_is_not_its_directorys_is_refused_with_both(tmp_path, values, directory):
    """pyarrow and Spark take the directory's, polars the file's: neither says so."""
    rows = pa.table({"k": values, "x": [1, 2]})
    for format in (
        ("parquet",) if pa.types.is_nested(values.type) or pa.types.is_dictionary(values.type) else ("parquet", "csv")
    ):
        source = tmp_path / format
        os.makedirs(source / directory)
        path = str(source / directory / f"a.{format}")
        pq.write_table(rows, path) if format == "parquet" else pyarrow.csv.write_csv(rows, path)
        with pytest.raises(
            DataError, match=f"column 'k' is .* in the file, and its directory says {directory}"
        ) as caught:
            ingest(str(source), tmp_path / "out", num_shards=1)
        assert caught.value.path == path and not (tmp_path / "out").exists()
    left = read_by_x(Dataset.open(str(tmp_path / "parquet")), columns=["x"])
    assert left.to_pylist() == [{"x": 1}, {"x": 2}], "who does not read the column is not asked which of both is meant"


@pytest.mark.parametrize(
    ("values", "directory"),
    [
        (pa.array(["a/b", "a/b"]), "k=a%2Fb"),
        (pa.array([7, 7]), "k=007"),
        (pa.array([0.5, 0.5], pa.float32()), "k=0.50"),
        (pa.array([float("nan")] * 2), "k=nan"),
        (pa.array([None, None], pa.string()), "k=__HIVE_DEFAULT_PARTITION__"),
        (pa.array([True, True]), "k=True"),
        (pa.array([datetime.date(2024, 1, 2)] * 2), "k=2024-01-02"),
        (pa.array([decimal.Decimal("1.50")] * 2), "k=1.5"),
        (pa.array([[7], [7]]), "k=7"),
        (pa.array([2024] * 2), "k=2024.0"),
        (pa.array(np.array([0.1] * 2, np.float16)), "k=0.1"),
        (pa.array([datetime.timedelta(seconds=9)] * 2), "k=9s"),
        (pa.array([datetime.time(1, 2, 3)] * 2, pa.time32("ms")), "k=01%3A02%3A03.000000"),
        (pa.array([DAY] * 2, pa.timestamp("ms")), "k=2024-01-02 00%3A00%3A00.000000"),
        (pa.array([DAY] * 2, pa.timestamp("us", "UTC")), "k=2024-01-02 00%3A00%3A00"),
    ],
    ids=[
        *["text", "padded", "fractions", "nan", "missing", "bool", "day", "decimal", "lists of one"],
        *["whole numbers", "half", "duration", "time", "digits", "no zone"],
    ],
)
def test_a_value_that_its_directory_spells_in_another_way_is_read(tmp_path, values, directory):
    os.makedirs(tmp_path / directory)
    pq.write_table(pa.table({"k": values, "x": [1, 2]}), tmp_path / directory / "a.parquet")
    assert str(read_by_x(Dataset.open(str(tmp_path)))["k"].to_pylist()) == str(values.to_pylist())


@pytest.mark.parametrize(
    "value",
    [
        datetime.time(1, 2, 3, 400),
        DAY,
        DAY.replace(microsecond=500),
        DAY.replace(tzinfo=datetime.timezone.utc),
        DAY.date(),
        0.1,
        True,
        "a b/ü",
    ],
    ids=str,
)
def test_what_polars_partitions_is_read(tmp_path, value):
    polars = pytest.importorskip("polars")
    polars.DataFrame({"k": [value, value], "x": [1, 2]}).write_parquet(tmp_path, partition_by="k")
    assert read_by_x(Dataset.open(tmp_path)).select(["k"]).to_pylist() == [{"k": value}] * 2


@pytest.mark.parametrize(
    ("values", "directory"),
    [
        (pa.array([datetime.time(1, 2, 4)] * 2), "k=01%3A02%3A03"),
        (pa.array([datetime.time(1, 2, 3)] * 2), "k=01%3A02%3A03.1"),
        (pa.array([DAY] * 2, pa.timestamp("ms")), "k=2024-01-02 00%3A00%3A00.000001"),
        (pa.array([DAY] * 2, pa.timestamp("us", "UTC")), "k=2024-01-02 00%3A00%3A00+01%3A00"),
        (pa.array([200] * 2), "k=2.00"),
    ],
    ids=["time", "fraction", "digits", "zone", "whole numbers"],
)
def test_another_value_that_looks_alike_is_refused_by_reading_and_verify(tmp_path, values, directory):
    os.makedirs(tmp_path / directory)
    pq.write_table(pa.table({"k": values, "x": [1, 2]}), tmp_path / directory / "a.parquet")
    dataset = Dataset.open(tmp_path)
    with pytest.raises(DataError, match=r"column 'k' is .* in the file, and its directory says"):
        read_by_x(dataset)
    (damage,) = dataset.verify().damages
    assert "and its directory says" in damage.message and damage.record == 0


@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
@pytest.mark.parametrize("spec", [None, pa.schema([("k", pa.int64()), ("x", pa.int64())])], ids=["stored", "given"])
def test_an_output_may_have_a_name_that_looks_like_a_key(tmp_path, format, spec):
    """Its manifest lies in the directory: what that one is called says nothing of a column that the files hold."""
    pq.write_table(pa.table({"k": [5, 6], "x": [1, 2]}), tmp_path / "a.parquet")
    out = tmp_path / "own" / "k=1"
    manifest = ingest(tmp_path / "a.parquet", out, format, num_shards=2).parts[""]
    for data in (out, out.parent, f"{out}/*-of-*", manifest, out / "_fullpass_manifest.json"):
        dataset = Dataset.open(data, spec)
        assert read_by_x(dataset).select(["k", "x"]).to_pylist() == [{"k": 5, "x": 1}, {"k": 6, "x": 2}]
        for splits in (dataset.splits(1), [dataset.manifest.block_split(0), dataset.manifest.block_split(1)]):
            assert [row["k"] for one in splits for b in read_split(one, dataset.schema) for row in b.to_pylist()] == [
                5,
                6,
            ]
        assert dataset.verify().ok


def test_keys_below_a_manifest_are_still_held_to_the_files(tmp_path):
    out = tmp_path / "j=0"
    for key in (1, 2):
        os.makedirs(out / f"k={key}")
        pq.write_table(pa.table({"j": [9], "k": [1], "x": [key]}), out / f"k={key}" / "a.parquet")
    assert write_manifest(Dataset.open(out)) == str(out / "_fullpass_manifest.json")
    assert next(Dataset.open(out).read_batches()).to_pylist() == [{"j": 9, "k": 1, "x": 1}]
    with pytest.raises(DataError, match="column 'k' is 1 in the file, and its directory says k=2"):
        read_by_x(Dataset.open(out))
    (damage,) = Dataset.open(out).verify().damages
    assert "its directory says k=2" in damage.message


def test_data_sets_in_directories_of_keys_are_held_to_them(tmp_path):
    """Each with a manifest of its own: opened together, their names are keys as others are."""
    for number, stored in enumerate(([1, 1], [2, 1])):
        pq.write_table(pa.table({"k": stored, "x": [1, 2]}), tmp_path / "a.parquet")
        ingest(tmp_path / "a.parquet", tmp_path / "all" / f"k={number + 1}", num_shards=1)
        pq.write_table(pa.table({"x": [number]}), tmp_path / "b.parquet")
        ingest(tmp_path / "b.parquet", tmp_path / "other" / f"k={number + 1}", num_shards=1)
        assert read_by_x(Dataset.open(tmp_path / "other")).to_pylist() == [
            {"x": n, "k": n + 1} for n in range(number + 1)
        ]
    with pytest.raises(DataError, match="column 'k' is 1 in the file, and its directory says k=2") as caught:
        read_by_x(Dataset.open(tmp_path / "all"))
    assert caught.value.path.startswith(str(tmp_path / "all/k=2/"))
    (damage,) = Dataset.open(tmp_path / "all").verify().damages
    assert "its directory says k=2" in damage.message
    assert read_by_x(Dataset.open(tmp_path / "all/k=2"))["k"].to_pylist() == [2, 1], "by itself it has no key"


def test_the_record_of_a_value_that_is_not_its_directorys_is_named(tmp_path):
    os.makedirs(tmp_path / "k=1")
    pq.write_table(pa.table({"k": [1, 1, 1, 2], "x": range(4)}), tmp_path / "k=1/a.parquet", row_group_size=2)
    with pytest.raises(DataError, match="column 'k' is 2 in the file") as caught:
        read_by_x(Dataset.open(str(tmp_path)))
    assert caught.value.record == 3
    second = Dataset.open(str(tmp_path)).splits(1)[1]
    with pytest.raises(DataError, match="column 'k' is 2 in the file") as caught:
        list(read_split(second, Dataset.open(str(tmp_path)).schema))
    assert caught.value.record is None, (
        "where a split does not know its first record, no number is better than a wrong one"
    )


def test_a_date_that_python_has_no_day_for_contradicts_its_directory_by_name(tmp_path):
    (tmp_path / "k=2024-01-02").mkdir()
    table = pa.table({"k": pa.array([10**7], pa.date32()), "x": [1]})
    pq.write_table(table, tmp_path / "k=2024-01-02" / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet, record 0: column 'k' is a date32\[day\] that no calendar"):
        list(Dataset.open(tmp_path).read_batches())
