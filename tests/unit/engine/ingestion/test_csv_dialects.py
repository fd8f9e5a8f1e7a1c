"""CSV is what its user says it is: delimiters, quotes, headers, encodings, packings, pipes; each against Python, pandas or polars."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import threading

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest

from cluster.cli.main import main
from engine import ConfigError, DataError, Dataset, ingest, open_source
from engine.formats.csv.options import CsvOptions
from tests.support.text_tables import read, through_the_command


@pytest.mark.parametrize("spelling", ["tab", "\\t", "\t"])
def test_delimiters_have_names(tmp_path, spelling):
    (tmp_path / "a.csv").write_text("a\tb\n1\tx,y\n")
    expected = {"a": [1], "b": ["x,y"]}
    assert read(tmp_path / "a.csv", delimiter=spelling).to_pydict() == expected
    assert through_the_command(tmp_path / "a.csv", tmp_path / "out", "--delimiter", spelling).to_pydict() == expected


@pytest.mark.parametrize(("name", "mark"), [("semicolon", ";"), ("pipe", "|"), ("space", " "), ("comma", ",")])
def test_other_delimiters(tmp_path, name, mark):
    (tmp_path / "a.csv").write_text(f"a{mark}b\n1{mark}x\n")
    for spelling in (name, mark):
        assert read(tmp_path / "a.csv", delimiter=spelling).to_pydict() == {"a": [1], "b": ["x"]}


@pytest.mark.parametrize("key", ["delimiter", "quote"])
@pytest.mark.parametrize("value", [";;", "é", "\n", "\r", "tabs"])
def test_a_character_that_cannot_be_is_refused_in_one_line(tmp_path, key, value, capsys):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=f"{key} is .*; it takes one ASCII character"):
        CsvOptions(**{key: value})
    assert main(["-q", "ingest", str(tmp_path / "a.csv"), "--out", str(tmp_path / "o"), f"--{key}", value]) == 2
    assert "internal error" not in capsys.readouterr().err


def test_an_empty_delimiter_is_refused():
    with pytest.raises(ConfigError, match="delimiter is ''"):
        CsvOptions(delimiter="")


@pytest.mark.parametrize("name", ["a.txt", "a.data", "a.psv", "part-00000", "a.tab", "A.CSV", "a.dat", "noname"])
def test_names_do_not_matter_where_the_format_is_said(tmp_path, name):
    mark = {".psv": "|", ".tab": "\t"}.get(os.path.splitext(name)[1], ",")
    (tmp_path / name).write_text(f"a{mark}b\n1{mark}x\n")
    table = through_the_command(tmp_path / name, tmp_path / "out", "--format", "csv")
    assert table.to_pydict() == {"a": [1], "b": ["x"]}
    assert (
        through_the_command(tmp_path / name, tmp_path / "o", "--input-format", "csv").to_pydict() == table.to_pydict()
    )
    if name not in ("a.dat", "noname"):  # and these are recognized by their names
        assert read(tmp_path / name).to_pydict() == table.to_pydict()


def test_files_without_a_header(tmp_path):
    (tmp_path / "a.csv").write_text("1,x\n2,y\n")
    assert read(tmp_path / "a.csv", column_names=("n", "t")).to_pydict() == {"n": [1, 2], "t": ["x", "y"]}
    assert read(tmp_path / "a.csv", header=False).to_pydict() == {"f0": [1, 2], "f1": ["x", "y"]}
    words = ["--no-header", "--column-names", 'n,"a, b"']
    assert through_the_command(tmp_path / "a.csv", tmp_path / "o", *words).to_pydict() == {
        "n": [1, 2],
        "a, b": ["x", "y"],
    }


def test_names_in_place_of_the_headers(tmp_path):
    (tmp_path / "a.csv").write_text("a,a\n1,x\n")
    with pytest.raises(DataError, match="names column 'a' twice"):
        read(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv", header=True, column_names=("n", "t")).to_pydict() == {"n": [1], "t": ["x"]}
    with pytest.raises(DataError, match="column_names has 3 names for the 2 of the header"):
        read(tmp_path / "a.csv", header=True, column_names=("n", "t", "u"))
    words = ["--header", "--column-names", "n,t"]
    assert through_the_command(tmp_path / "a.csv", tmp_path / "o", *words).to_pydict() == {"n": [1], "t": ["x"]}


def test_lines_before_the_header(tmp_path):
    (tmp_path / "a.csv").write_text("# it's by \"tool\n# v2\n\n\na,b\n\n1,2\n\n3,4\n\n")
    expected = pd.read_csv(tmp_path / "a.csv", skiprows=2).to_dict("list")
    assert read(tmp_path / "a.csv", skip_rows=2).to_pydict() == expected == {"a": [1, 3], "b": [2, 4]}
    assert through_the_command(tmp_path / "a.csv", tmp_path / "o", "--skip-rows", "2").to_pydict() == expected
    with pytest.raises(ConfigError, match="skip_rows is -1"):
        CsvOptions(skip_rows=-1)


@pytest.mark.parametrize("blank", [b"\n\n", b"\r\n", b"\xef\xbb\xbf\n"])
def test_blank_lines_before_the_header(tmp_path, blank):
    (tmp_path / "a.csv").write_bytes(blank + b"a,b\n1,2\n")
    assert read(tmp_path / "a.csv").to_pydict() == {"a": [1], "b": [2]}


def test_quotes_of_other_kinds_or_none(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,'x, y'\n2,z\n")
    assert read(tmp_path / "a.csv", quote="single").to_pydict() == {"a": [1, 2], "b": ["x, y", "z"]}
    (tmp_path / "b.csv").write_text('a,b\n1,"x\n2,5" pipe\n')
    assert read(tmp_path / "b.csv", quote="none").to_pydict() == {"a": [1, 2], "b": ['"x', '5" pipe']}
    assert through_the_command(tmp_path / "b.csv", tmp_path / "o", "--quote", "none")["b"].to_pylist() == [
        '"x',
        '5" pipe',
    ]


@pytest.mark.parametrize("quoted", [False, True])
def test_records_longer_than_a_piece(tmp_path, quoted):
    long = "word \n" * 1_000_000 if quoted else "x" * (9 << 20)
    with open(tmp_path / "a.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["id", "t"], [1, "short"], [2, long], [3, "b"]])
    assert read(tmp_path / "a.csv").to_pydict() == {"id": [1, 2, 3], "t": ["short", long, "b"]}


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("piece_bytes", [16, 61, 1 << 20])
def test_line_ends_wherever_pieces_are_cut(tmp_path, monkeypatch, ends, piece_bytes):
    monkeypatch.setattr("engine.formats.csv.pieces.PIECE_BYTES", piece_bytes)
    rows = [[i, f"t{i},{i}" if i % 3 else f'"{i}"'] for i in range(200)]
    with open(tmp_path / "a.csv", "w", newline="") as file:
        csv.writer(file, lineterminator=ends).writerows([["n", "t"], *rows])
    assert read(tmp_path / "a.csv").to_pylist() == [{"n": n, "t": t} for n, t in rows]


def test_a_row_of_another_length_is_named_with_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.formats.csv.pieces.PIECE_BYTES", 64)
    (tmp_path / "a.csv").write_text("a,b\n" + '1,"x\ny"\n' * 100 + "1,2,3\n" + "4,5\n" * 50)
    with pytest.raises(DataError, match=r"Expected 2 columns, got 3: '1,2,3' \(line 202\)") as caught:
        read(tmp_path / "a.csv")
    assert (caught.value.path, caught.value.record) == (str(tmp_path / "a.csv"), 100)


def test_a_delimiter_that_is_another_one_is_said(tmp_path):
    (tmp_path / "a.csv").write_text("a;b\n1;2\n")
    assert "is the delimiter ';'" in open_source(tmp_path / "a.csv").notes[0]


def test_standard_input(tmp_path):
    command = [sys.executable, "-m", "cluster.cli.main", "-q", "ingest", "-", "--out", str(tmp_path / "out")]
    data = b"a,b\n" + b"".join(b"%d,x\n" % i for i in range(1000))
    done = subprocess.run([*command, "--num-shards", "3"], input=data, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert Dataset.open(tmp_path / "out").num_records == 1000
    bad = subprocess.run([*command], input=b"a,b\n1\n", capture_output=True)
    assert bad.returncode == 2 and b"standard input, record 0: Expected 2 columns, got 1" in bad.stderr


def test_named_pipes(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text("a,b\n1,x\n"), daemon=True)
    writer.start()
    ingest(tmp_path / "pipe", tmp_path / "out", num_shards=1)
    writer.join()
    assert Dataset.open(tmp_path / "out").num_records == 1


def test_a_link_to_nothing_is_one_line(tmp_path):
    (tmp_path / "a.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"is a link to .*gone.csv, which is not there"):
        ingest(tmp_path / "a.csv", tmp_path / "out")


@pytest.fixture
def monkeypatch_pieces(monkeypatch):
    return lambda size: monkeypatch.setattr("engine.formats.csv.pieces.PIECE_BYTES", size)


STRAY = [
    (b'"x"y,1', 5), (b'"x" y,1', 5), (b'"x\\"y",1', 5), (b'"x"y"z",1', 5), (b'1,"x"y', 5), (b'"p\nq"r,2', 6), (b'"x""y"z,1', 5),
    (b'"x\\"",1\n"y",2', 6),
]  # fmt: skip


@pytest.mark.parametrize(("row", "line"), STRAY)
@pytest.mark.parametrize("piece_bytes", [4, 1 << 20])
def test_text_behind_a_closing_quote_is_refused_with_its_line(tmp_path, row, line, piece_bytes, monkeypatch_pieces):
    """What Python, pandas and pyarrow make of it is nobody's text; polars, and Python where it is strict, refuse it."""
    monkeypatch_pieces(piece_bytes)
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,b\n"1\n2",2\n3,4\n' + row + b"\n5,6\n")
    with pytest.raises(csv.Error, match="',' expected after '\"'"):
        list(csv.reader(io.StringIO(path.read_text(), newline=""), strict=True))
    with pytest.raises(
        DataError, match=f"text follows the quote that closes a value, at line {line}: .* twice"
    ) as caught:
        read(path)
    assert (caught.value.path, caught.value.record) == (str(path), 2)


@pytest.mark.parametrize("header", [None, False])
def test_text_behind_a_closing_quote_of_the_first_row_is_refused(tmp_path, header):
    (tmp_path / "a.csv").write_text('"a"x,b\n1,2\n')
    with pytest.raises(DataError, match=r"text follows the quote that closes a value, at line 1: '\"a\"x,b") as caught:
        read(tmp_path / "a.csv", header=header)
    assert caught.value.record == 0
    assert read(tmp_path / "a.csv", quote="none").to_pydict() == {'"a"x': [1], "b": [2]}


def test_quotes_inside_a_value_that_no_quote_opens_are_text(tmp_path):
    (tmp_path / "a.csv").write_text('a,b\nx"y",5\' 6"\n "z",\\N\n"q\\",""\n')
    rows = list(csv.reader(io.StringIO((tmp_path / "a.csv").read_text()), strict=True))
    assert [list(row.values()) for row in read(tmp_path / "a.csv").to_pylist()] == rows[1:]


@pytest.mark.parametrize("piece_bytes", [4, 1 << 20])
def test_a_byte_order_mark_below_the_header_is_data(tmp_path, piece_bytes, monkeypatch_pieces):
    monkeypatch_pieces(piece_bytes)
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\n\xef\xbb\xbf1,x\n2,\xef\xbb\xbfy\n\xef\xbb\xbf3,z\n")
    assert read(path).to_pydict() == pa.csv.read_csv(path).to_pydict()
    assert read(path)["a"].to_pylist() == ["\ufeff1", "2", "\ufeff3"]
    path.write_bytes(b"a,b\n\xef\xbb\xbf")
    with pytest.raises(DataError, match=r"Expected 2 columns, got 1: '\\ufeff' \(line 2\)") as caught:
        read(path)
    assert (caught.value.path, caught.value.record) == (str(path), 0)
