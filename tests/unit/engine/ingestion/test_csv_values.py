"""What a CSV cell says is what the shards hold: types over all values of all files, and the file's own text where they are text."""

from __future__ import annotations

import csv
import math

import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest

from engine import ConfigError, DataError, Dataset, ingest, open_source
from engine.formats.csv.options import CsvOptions
from engine.formats.spool import Spool


def files(folder, **texts):
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def shards(source, out, **options):
    ingest(source, out, num_shards=2, **options)
    dataset = Dataset.open(out)
    return pa.Table.from_batches(dataset.read_batches(), dataset.schema)


@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
@pytest.mark.parametrize("second", ["x,y\n", "x,y\n3,\n4,\n", "x,y\n3,NA\n"])
def test_a_column_without_values_in_one_file_contradicts_nothing(tmp_path, second, format):
    source = files(tmp_path / "d", a="x,y\n1,2.5\n2,3.5\n", b=second)
    table = shards(source, tmp_path / "out", format=format)
    oracle = pd.concat([pd.read_csv(source / f"{name}.csv") for name in "ab"])
    assert table["x"].to_pylist() == oracle["x"].tolist()
    assert pa.types.is_floating(table["y"].type)
    assert table["y"].to_pylist() == [None if pd.isna(value) else value for value in oracle["y"]]


@pytest.mark.parametrize(
    "numbers",
    [
        ["007", "0123"],
        ["1e5", "1.50"],
        ["+7", "-0"],
        [" 1", "2"],
        ["1", "2"],
        ["NA", "3"],
        ["", "4"],
        ["18446744073709551615", "1"],
    ],
)
@pytest.mark.parametrize("order", ["ab", "ba"])
def test_text_in_another_file_keeps_every_cell_as_it_is_written(tmp_path, numbers, order):
    first, second = (order[0], order[1])
    source = files(tmp_path / "d", **{first: "n,k\n" + "".join(f"{n},x\n" for n in numbers), second: "n,k\nA-1,x\n"})
    with_text = {name: list(csv.DictReader((source / f"{name}.csv").read_text().splitlines())) for name in "ab"}
    expected = [row["n"] or None for name in "ab" for row in with_text[name]]
    assert shards(source, tmp_path / "out")["n"].to_pylist() == expected


def test_text_that_comes_after_pieces_of_numbers_keeps_their_spelling(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.formats.csv.pieces.PIECE_BYTES", 256)
    words = [f"0{i}.50" if i % 3 else str(i) for i in range(500)]
    source = files(tmp_path / "d", a="k,n\n" + "".join(f"{i},{w}\n" for i, w in enumerate(words)) + "500,end\n")
    table = shards(source, tmp_path / "out")
    assert table["n"].to_pylist() == [*words, "end"]
    assert table["k"].to_pylist() == list(range(501))


def test_a_full_spool_parses_the_files_again_and_gives_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.formats.csv.pieces.PIECE_BYTES", 256)
    text = "i,x,t\n" + "".join(f"{i},{i / 4 if i > 300 else i},t{i}\n" for i in range(600))
    source = files(tmp_path / "d", a=text, b="i,x,t\n7,,NA\n")
    want = pa.Table.from_batches(open_source(source).batches())
    for memory, room in ((0, 10**9), (0, 0), (5000, 6000)):
        monkeypatch.setattr(Spool, "__init__", _spool_of(memory, room))
        found = open_source(source)
        assert pa.Table.from_batches(found.batches()).combine_chunks() == want.combine_chunks()
        assert pa.Table.from_batches(found.batches()).combine_chunks() == want.combine_chunks()
    assert want["x"].to_pylist()[:3] == [0.0, 1.0, 2.0] and want["t"].to_pylist()[-1] == "NA"


def _spool_of(memory, room):
    before = Spool.__init__

    def init(self, directory=None, memory_bytes=0):
        before(self, directory, memory)
        self._write = lambda batch, write=self._write: write(batch) if self._in_file + batch.nbytes <= room else None

    return init


def test_numbers_that_begin_with_0_are_noted(tmp_path):
    found = open_source(files(tmp_path / "d", a="zip\n00123\n04567\n9\n"))
    assert found.schema.field("zip").type == pa.int64()
    (note,) = found.notes
    assert "2 of its values begin with 0, the first '00123' in" in note and "record 0" in note


@pytest.mark.parametrize(
    "ids", [["18446744073709551615", "18446744073709551614"], ["9223372036854775808", "5"], ["-1", "9" * 30]]
)
def test_ids_beyond_64_bits_stay_exact(tmp_path, ids):
    source = files(tmp_path / "d", a="id,v\n" + "".join(f"{i},1\n" for i in ids))
    assert shards(source, tmp_path / "out")["id"].to_pylist() == ids
    (note,) = open_source(source).notes
    assert "do not fit 64 bits" in note


def test_ids_beyond_64_bits_are_split_by_themselves(tmp_path):
    rows = "".join(f"{2**64 - 1 - i},{i}\n" for i in range(200))
    report = ingest(files(tmp_path / "d", a="id,v\n" + rows), tmp_path / "out", num_shards=1, split_by=["id"])
    counts = [manifest.num_records for manifest in report.parts.values()]
    assert sum(counts) == 200 and 130 < counts[0] < 190


def test_whole_numbers_that_a_double_rounds_are_noted(tmp_path):
    found = open_source(files(tmp_path / "d", a="id\n9007199254740993\n1.5\n"))
    assert found.schema.field("id").type == pa.float64()
    assert "a double rounds, the first '9007199254740993'" in found.notes[0]


@pytest.mark.parametrize("number", ["9007199254740993", "-9223372036854775807", "18446744073709551615"])
def test_whole_numbers_that_another_files_fractions_round_are_noted_too(tmp_path, number):
    """Where each file is of one kind, no piece of it says that the column is of doubles."""
    (tmp_path / "a.csv").write_text(f"id\n1\n{number}\n")
    (tmp_path / "b.csv").write_text("id\n0.5\n")
    for order in ("ab", "ba"):
        found = open_source([tmp_path / f"{name}.csv" for name in order])
        assert found.schema.field("id").type == pa.float64()
        assert found.notes[0].startswith("column 'id' holds whole numbers that a double rounds")
        assert f"the first {number!r} in {tmp_path}/a.csv, record 1; the type string keeps them" in found.notes[0]
    (tmp_path / "b.csv").write_text("id\n2\n")
    assert not any("rounds" in note for note in open_source(str(tmp_path / "*.csv")).notes)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a,b\n1,"x\n2,y\n3,z\n', 2),
        ('a,b\n1,"x""\n', 2),
        ('a,b\n1,"two\nlines"\n2,z\n3,"open\n4,w\n', 5),
        ('a,"b\n1,2\n', 1),
        ("a,b\r\n1,2\r\n3,\"x\r\n", 3),
    ],
)  # fmt: skip
def test_a_quote_that_is_never_closed_is_an_error_with_its_line(tmp_path, text, line):
    source = files(tmp_path / "d", a=text)
    with pytest.raises(DataError, match=f"the quote that opens at line {line} is never closed") as caught:
        ingest(source, tmp_path / "out")
    assert caught.value.path == str(source / "a.csv")
    with pytest.raises(csv.Error):  # Python's own reader agrees where it is strict
        list(csv.reader(text.splitlines(keepends=True), strict=True))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("types", "cell", "record"),
    [({"x": "float32"}, "3.4e39", 1), ({"x": "float32"}, "-1e999", 1), ({}, "1e999", 1), ({"x": "int64"}, "9" * 19, 1)],
)
def test_a_number_beyond_its_type_is_an_error_with_the_cell(tmp_path, types, cell, record):
    source = files(tmp_path / "d", a=f"x\n1.5\n{cell}\n" if types != {"x": "int64"} else f"x\n1\n{cell}\n")
    with pytest.raises(DataError, match=f"column 'x' holds '{cell}' here") as caught:
        ingest(source, tmp_path / "out", csv_options=CsvOptions(column_types=types))
    assert (caught.value.path, caught.value.record) == (str(source / "a.csv"), record)


def test_inf_and_the_edges_of_the_types_are_numbers(tmp_path):
    source = files(
        tmp_path / "d", a="f,d,i\ninf,1.7976931348623157e308,9223372036854775807\n-inf,5e-324,-9223372036854775808\n"
    )
    table = shards(source, tmp_path / "out", csv_options=CsvOptions(column_types={"f": "float32"}))
    assert table.to_pydict() == {
        "f": [float("inf"), float("-inf")], "d": [1.7976931348623157e308, 5e-324], "i": [2**63 - 1, -(2**63)],
    }  # fmt: skip


@pytest.mark.parametrize("word", ["NA", "null", "nan", "NULL", "N/A", "NaN"])
def test_words_for_missing_are_text_in_text_and_missing_among_numbers(tmp_path, word):
    source = files(tmp_path / "d", a=f"country,n\n{word},1\nDE,{word}\n,3\n")
    table = shards(source, tmp_path / "out")
    assert table["country"].to_pylist() == [word, "DE", None]
    assert table["n"].to_pylist() == [1, None, 3]
    asked = shards(source, tmp_path / "asked", csv_options=CsvOptions(null_values=(word,)))
    assert asked["country"].to_pylist() == [None, "DE", None]
    none = shards(source, tmp_path / "none", csv_options=CsvOptions(null_values=("-",)))
    if word.lower() == "nan":  # a number that is none, as in Python
        assert none["n"].to_pylist()[::2] == [1.0, 3.0] and math.isnan(none["n"][1].as_py())
    else:
        assert none["n"].to_pylist() == ["1", word, "3"]


def test_quoted_numbers_are_numbers_and_quoted_nothing_is_missing_among_them(tmp_path):
    source = files(tmp_path / "d", a='n,t\n"1","a"\n"",""\n"3",\n')
    assert shards(source, tmp_path / "out").to_pydict() == {"n": [1, None, 3], "t": ["a", "", None]}


@pytest.mark.parametrize("cell", ["0x10", "1_000", "1,5", "1.2.3", "--1", "e5", "1e", ".", "१२"])
def test_what_only_looks_like_a_number_is_text(tmp_path, cell):
    source = files(tmp_path / "d", a=f'n\n"{cell}"\n2\n')
    assert shards(source, tmp_path / "out")["n"].to_pylist() == [cell, "2"]


def test_columns_are_found_by_name_in_files_of_another_order(tmp_path):
    source = files(tmp_path / "d", a="x,y,t\n1,2.5,a\n", b="t,y,x\nb,20,10\n")
    assert shards(source, tmp_path / "out").to_pydict() == {"x": [1, 10], "y": [2.5, 20.0], "t": ["a", "b"]}


@pytest.mark.parametrize(
    ("second", "message"), [("x,z\n1,2\n", "has no column 'y'"), ("y,x,z\n1,2,3\n", "has a column 'z'")]
)
def test_files_of_other_columns_are_refused(tmp_path, second, message):
    source = files(tmp_path / "d", a="x,y\n1,2\n", b=second)
    with pytest.raises(DataError, match=message) as caught:
        ingest(source, tmp_path / "out")
    assert caught.value.path == str(source / "b.csv")


def test_a_list_of_5000_columns_is_cut_in_errors(tmp_path):
    source = files(tmp_path / "d", a=",".join(f"c{i}" for i in range(5000)) + "\n" + ",".join("1" * 5000) + "\n")
    with pytest.raises(ConfigError) as caught:
        open_source(source, csv_options=CsvOptions(column_types={"nope": "int64"}))
    assert "more" in str(caught.value) and len(str(caught.value)) < 500
    (source / "b.csv").write_text("c0\n1\n")
    with pytest.raises(DataError) as caught:
        open_source(source)
    assert len(str(caught.value)) < 900


def test_keys_of_directories_are_columns(tmp_path):
    for year, name, text in [("2023", "a", "x,y\n1,a\n"), ("2024", "b", "y,x\nb,2.5\n"), ("2024", "c", "x,y\n,c\n")]:
        files(tmp_path / "d", a="x\n")
        (tmp_path / "d" / "a.csv").unlink()
        files(tmp_path / "d" / f"year={year}", **{name: text})
    table = shards(tmp_path / "d", tmp_path / "out")
    assert table.to_pydict() == {"x": [1.0, 2.5, None], "y": ["a", "b", "c"], "year": [2023, 2024, 2024]}
    assert (
        table["year"].type
        == pyarrow.dataset.dataset(tmp_path / "d", format="csv", partitioning="hive").schema.field("year").type
    )
    report = ingest(tmp_path / "d", tmp_path / "split", num_shards=1, split_time="year", eval_from=2024)
    assert {name: manifest.num_records for name, manifest in report.parts.items()} == {"train": 1, "eval": 2}


@pytest.mark.parametrize("piece_bytes", [4, 1 << 20])
def test_blanks_behind_a_closing_quote_are_part_of_the_value(tmp_path, piece_bytes, monkeypatch):
    """As pandas, pyarrow and Python's csv have it, in files that are padded to columns."""
    monkeypatch.setattr("engine.formats.csv.pieces.PIECE_BYTES", piece_bytes)
    source = files(tmp_path / "d", a='"a" ,"n","b"\n"x" ,"1"  ,"p\nq"\t\n"y"\t ,"2","" \n"z""",3,"r" ')
    found = open_source(source)
    table = pa.Table.from_batches(found.batches(), found.schema)
    assert table.to_pydict() == pd.read_csv(source / "a.csv", keep_default_na=False).to_dict("list")
    with open(source / "a.csv", newline="") as file:
        assert [[a, n.strip(), b] for a, n, b in list(csv.reader(file))[1:]] == [
            [row["a "], str(row["n"]), row["b"]] for row in table.to_pylist()
        ]


def test_text_behind_a_closing_quote_may_be_another_delimiter(tmp_path):
    source = files(tmp_path / "d", a='"a";"b"\n"1";"2"\n')
    with pytest.raises(
        DataError, match=r"where another character than ',' separates the values, give it \(delimiter="
    ) as caught:
        open_source(source)
    assert caught.value.record == 0
    found = open_source(source, csv_options=CsvOptions(delimiter=";"))
    assert pa.Table.from_batches(found.batches(), found.schema).to_pydict() == {"a": [1], "b": [2]}


@pytest.mark.parametrize("value", ["1,5", "-0,25", "1.234,50"])
def test_decimal_commas_stay_text_and_are_noted(tmp_path, value):
    (tmp_path / "a.csv").write_text(f"k;price\n1;7\n2;{value}\n3;x\n")
    opened = open_source(tmp_path / "a.csv", csv_options=CsvOptions(delimiter=";"))
    assert opened.schema.field("price").type == pa.string()
    (note,) = opened.notes
    assert "'price' is text" in note and f"'{value}' in {tmp_path / 'a.csv'}, record 1" in note and "comma" in note


@pytest.mark.parametrize("text", ['a,b\n"x",', 'a,b\n"x",\n', "a,b\nx,", "a,b\n\\x,"])
def test_nothing_at_the_end_of_a_file_is_missing_with_a_line_end_behind_it_and_without(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    options = CsvOptions(escape="\\" if "\\" in text else "", column_types={"b": "string"})
    (batch,) = open_source(tmp_path / "a.csv", csv_options=options).batches()
    assert batch.to_pylist() == [{"a": "x", "b": None}]


@pytest.mark.parametrize(
    "numbers", [["1", "nan", "2.5"], ["007", "NULL", "", "0.5"], ["9007199254740992", "NaN", "1e3"]]
)
def test_missing_values_before_a_fraction_are_not_called_rounded(tmp_path, numbers):
    (tmp_path / "a.csv").write_text("x,k\n" + "".join(f"{number},z\n" for number in numbers))
    source = open_source(str(tmp_path / "a.csv"))
    assert not [note for note in source.notes if "rounds" in note]
    found = [row["x"] for batch in source.batches() for row in batch.to_pylist()]
    expected = pd.read_csv(tmp_path / "a.csv")["x"]
    assert found == [None if pd.isna(value) else value for value in expected]
