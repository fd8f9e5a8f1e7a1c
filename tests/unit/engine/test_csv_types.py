"""Types of CSV columns: declared ones are held, inferred ones say which cell made a column of numbers text."""

import gzip
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli.main import main
from engine import ConfigError, DataError, Dataset, ingest, open_source
from engine.formats.csv.options import CsvOptions


def write(path, rows=5000, **cells):
    """A file with a column of integers, one of floats and one of text; `cells` replaces values, e.g. n=(17, "oops")."""
    columns = {"n": [str(i) for i in range(rows)], "x": [f"{i}.5" for i in range(rows)], "t": ["a"] * rows}
    for name, (record, value) in cells.items():
        columns[name][record] = value
    lines = [",".join(columns), *(",".join(row) for row in zip(*columns.values()))]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_declared_types_are_those_of_the_shards(tmp_path):
    source = write(tmp_path / "a.csv")
    types = CsvOptions(column_types={"n": "float32", "x": "string"})
    assert ingest(source, tmp_path / "out", num_shards=2, csv_options=types).num_records == 5000
    dataset = Dataset.open(tmp_path / "out")
    assert [str(field.type) for field in dataset.schema] == ["float", "string", "string"]
    table = pa.Table.from_batches(dataset.read_batches())
    assert table["n"].to_pylist() == [float(i) for i in range(5000)]
    assert table["x"][4999].as_py() == "4999.5"


@pytest.mark.parametrize("record", [0, 1, 2499, 4999])
@pytest.mark.parametrize(
    ("column", "kind", "value"), [("n", "int64", "oops"), ("x", "int64", "0.5"), ("x", "float32", "1,5")]
)
def test_value_that_is_not_of_the_declared_type_is_named(tmp_path, record, column, kind, value):
    cell = f'"{value}"' if "," in value else value
    source = write(tmp_path / "a.csv", **{column: (record, cell)})
    if (column, kind) == ("x", "int64"):
        record = 0  # every value of the column is a float
    with pytest.raises(DataError) as caught:
        ingest(source, tmp_path / "out", csv_options=CsvOptions(column_types={column: kind}))
    assert (caught.value.path, caught.value.record) == (str(source), record)
    assert f"column '{column}' holds '{value}' here; its declared type is {kind}" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_record_counts_from_the_head_of_its_own_file_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.formats.csv.pieces.PIECE_BYTES", 4096)
    write(tmp_path / "a.csv")
    second = write(tmp_path / "b.csv", n=(3210, "oops"))
    with pytest.raises(DataError) as caught:
        open_source(tmp_path / "*.csv", csv_options=CsvOptions(column_types={"n": "int64"}))
    assert (caught.value.path, caught.value.record) == (str(second), 3210)
    (note,) = open_source(tmp_path / "*.csv").notes
    assert note == f"column 'n' is text: 1 of 10,000 values is no number, the first 'oops' in {second}, record 3210"


def test_only_columns_of_mostly_numbers_are_noted(tmp_path):
    assert open_source(write(tmp_path / "a.csv")).notes == ()
    (note,) = open_source(write(tmp_path / "b.csv", x=(0, "?"))).notes
    assert "1 of 5,000 values is no number, the first '?'" in note and "record 0" in note


def test_missing_values_have_every_type(tmp_path):
    source = write(tmp_path / "a.csv", n=(7, "NA"))
    found = open_source(source, csv_options=CsvOptions(column_types={"n": "int64", "t": "string"}))
    assert found.schema.field("n") == pa.field("n", pa.int64(), nullable=True)
    assert pa.Table.from_batches(found.batches())["n"].null_count == 1


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ({"n": "int"}, "allowed are int64, float32, string"),
        ({"m": "int64"}, "column 'm' not found; available columns: n, x, t"),
    ],
)
def test_types_that_cannot_be_are_refused(tmp_path, types, message):
    source = write(tmp_path / "a.csv", rows=3)
    with pytest.raises(ConfigError, match=message):
        open_source(source, csv_options=CsvOptions(column_types=types))


def test_types_of_parquet_are_refused(tmp_path):
    pq.write_table(pa.table({"n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match=r"column_types is for CSV, and .* is parquet"):
        open_source(tmp_path / "a.parquet", csv_options=CsvOptions(column_types={"n": "int64"}))


def test_command_line(tmp_path, capsys):
    source = write(tmp_path / "a.csv", n=(17, "oops"))
    words = ["ingest", str(source), "--out", str(tmp_path / "out"), "--num-shards", "2"]
    assert main(words) == 0
    assert "column 'n' is text: 1 of 5,000 values is no number, the first 'oops'" in capsys.readouterr().out
    assert main([*words, "--type", "n=int64"]) == 2
    assert capsys.readouterr().err.endswith(
        f"{source}, record 17: column 'n' holds 'oops' here; its declared type is int64\n"
    )
    assert main([*words, "--type", "n"]) == 2
    assert "expected COLUMN=TYPE" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-8-sig", "utf-8"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_text_of_any_encoding_is_read_as_python_reads_it(tmp_path, encoding, name, monkeypatch):
    monkeypatch.setattr("engine.formats.csv.pieces.PIECE_BYTES", 4096)  # characters stand across blocks
    rows = [(str(i), "café" if i % 2 else '"crème, brûlée"') for i in range(3000)]
    data = "\n".join(["n,désert", *map(",".join, rows)]).encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    options = CsvOptions(encoding="utf-8" if encoding == "utf-8-sig" else encoding)
    ingest(tmp_path / name, tmp_path / "out", num_shards=1, csv_options=options)
    table = pa.Table.from_batches(Dataset.open(tmp_path / "out").read_batches())
    assert table["n"].to_pylist() == list(range(3000))
    assert table["désert"].to_pylist() == [text.strip('"') for _, text in rows]


@pytest.mark.parametrize(
    ("data", "encoding", "message"),
    [
        ("n,café\n1,a\n".encode("latin-1"), "utf-8", "is not text of encoding 'utf-8': .*; say how the file is encoded"),
        ("n,t\n1,café\n".encode("latin-1"), "utf-8", "record 0: column 't' holds .*invalid UTF8 data; say how the file is encoded"),
        ("n,t\n1,café\n".encode("utf-16"), "utf-8", "is not text of encoding 'utf-8'"),
        ("n,t\n1,é\n".encode(), "ascii", "is not text of encoding 'ascii': ordinal not in range"),
        (b"n,t\n" + b"1,a\n" * 40_000 + b"1,\x81\n", "cp1252", "is not text of encoding 'cp1252'"),
    ],
)  # fmt: skip
def test_text_of_another_encoding_is_refused_with_advice(tmp_path, data, encoding, message, capsys):
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        ingest(path, tmp_path / "out", csv_options=CsvOptions(encoding=encoding))
    assert caught.value.path == str(path)
    assert main(["ingest", str(path), "--out", str(tmp_path / "out"), "--encoding", encoding]) == 2
    assert "internal error" not in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["a.csv"]


def test_encoding_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="unknown encoding 'latin-one'; use a Python codec name such as utf-8"):
        CsvOptions(encoding="latin-one")


def test_a_header_of_one_endless_name_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x" * 200_000 + "\n1\n")
    with pytest.raises(DataError, match="begins with no row of column names: field larger") as caught:
        ingest(path, tmp_path / "out")
    assert caught.value.path == str(path)
