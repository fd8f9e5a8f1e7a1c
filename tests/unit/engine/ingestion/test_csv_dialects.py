"""CSV is what its user says it is: delimiters, quotes, headers, encodings, packings, pipes; each against Python, pandas or polars."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import os
import subprocess
import sys
import threading
import zipfile

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cluster.cli.main import main
from engine import ConfigError, DataError, Dataset, ingest, open_source
from engine.formats.csv.options import CsvOptions


def read(path, **options):
    found = open_source(path, csv_options=CsvOptions(**options))
    return pa.Table.from_batches(found.batches(), found.schema)


def through_the_command(path, out, *words):
    assert main(["-q", "ingest", str(path), "--out", str(out), "--num-shards", "1", *words]) == 0
    dataset = Dataset.open(out)
    return pa.Table.from_batches(dataset.read_batches(), dataset.schema)


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


PACKINGS = {
    ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}  # fmt: skip


@pytest.mark.parametrize("packing", PACKINGS)
def test_packed_files_are_read_by_what_they_are(tmp_path, packing):
    data = b"a,b\n" + b"".join(b"%d,x%d\n" % (i, i) for i in range(3000))
    packed = PACKINGS[packing](data)
    (tmp_path / f"a.csv{packing}").write_bytes(packed)
    (tmp_path / "b.csv").write_bytes(packed)  # whatever its name says
    for name in (f"a.csv{packing}", "b.csv"):
        assert read(tmp_path / name).to_pydict() == pd.read_csv(io.BytesIO(data)).to_dict("list")


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damaged_packings_name_their_file(tmp_path, packing, damage):
    rows = b"".join(b"%d,%d\n" % (i, i * i % 977) for i in range(20_000))
    packed = bytearray(PACKINGS[packing](b"a,b\n" + rows))
    if damage == "cut":
        del packed[len(packed) // 2 :]
    else:
        packed[len(packed) // 2] ^= 0x55
        if packing == ".zst":
            pytest.skip("this frame has no checksum: nothing in the file says that it changed")
    path = tmp_path / f"a.csv{packing}"
    path.write_bytes(packed)
    with pytest.raises(DataError, match=r"cut off or damaged|is not text|Expected") as caught:
        ingest(path, tmp_path / "out")
    assert caught.value.path == str(path)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_streams_behind_one_another_are_read_or_refused_and_never_left_out(tmp_path, packing, kind):
    """As pbzip2, pixz, `cat` and logs that are appended to make them; Python's readers end where one is damaged."""
    if kind == "jsonl" and packing == ".xz":
        pytest.skip("JSON lines are not read out of xz")
    line = b"%d\n" if kind == "csv" else b'{"a":%d}\n'
    parts = [b"".join(line % n for n in range(first, first + 20_000)) for first in (0, 20_000, 40_000)]
    parts[0] = (b"a\n" if kind == "csv" else b"") + parts[0]
    packed = [PACKINGS[packing](part) for part in parts]
    path = tmp_path / f"a.{kind}{packing}"

    def read_all():
        opened = open_source(path)
        return [row for batch in opened.batches() for row in batch.column(0).to_pylist()]

    path.write_bytes(b"".join(packed))
    assert read_all() == list(range(60_000))
    if packing == ".xz":
        path.write_bytes(packed[0] + b"\0" * 8 + packed[1] + packed[2] + b"\0" * 4)
        assert read_all() == list(range(60_000))
    for behind in (b"garbage", b"\xff" + packed[1][1:] + packed[2], packed[1][:-9], packed[1][:3]):
        path.write_bytes(packed[0] + behind)
        with pytest.raises(DataError, match="cut off or damaged") as caught:
            read_all()
        assert caught.value.path == str(path)


def zipped(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__SLASH__", "/"), text)
    return path


def test_zip_archives(tmp_path):
    mac = zipped(tmp_path / "mac.zip", **{"data.csv": "a\n1\n", "__MACOSX/._data.csv": b"\0\5junk"})
    beside = zipped(tmp_path / "beside.csv.zip", **{"x/data.csv": "a\n1\n", "readme.txt": "hello"})
    single = zipped(tmp_path / "single.csv.zip", **{"data.txt": "a\n1\n"})
    for path in (mac, beside, single):
        assert through_the_command(path, tmp_path / "out").to_pydict() == {"a": [1]}


def test_bad_zip_archives_name_their_file(tmp_path, capsys):
    good = zipped(tmp_path / "good.csv.zip", **{"data.csv": "a,b\n" + "1,hello\n" * 50_000}).read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 3] ^= 0xFF
    two = zipped(tmp_path / "two.csv.zip", **{"a.csv": "a\n1\n", "b.csv": "a\n1\n"}).read_bytes()
    cases = {
        "text": b"nope",
        "cut": good[:-10],
        "flipped": bytes(flipped),
        "two": two,
        "none": zipped(tmp_path / "0.zip").read_bytes(),
    }
    for name, data in cases.items():
        path = tmp_path / f"{name}.csv.zip"
        path.write_bytes(data)
        with pytest.raises(DataError) as caught:
            ingest(path, tmp_path / "out")
        assert caught.value.path == str(path), name
        assert main(["-q", "ingest", str(path), "--out", str(tmp_path / "out")]) == 2
        assert "internal error" not in capsys.readouterr().err


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


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=6)
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str), st.floats(allow_nan=False, allow_infinity=False).map(repr)
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_any_dialect_reads_as_python_writes_it(tmp_path, data, monkeypatch_pieces):
    """Random texts, numbers, delimiters, quotes, line ends, cuts: the cells are those that csv.writer was given."""
    delimiter, quote = data.draw(st.sampled_from([(",", '"'), (";", "'"), ("\t", '"'), ("|", "~")]))
    ends = data.draw(st.sampled_from(["\n", "\r\n"]))
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    rows = data.draw(st.lists(st.tuples(CELLS, NUMBERS, st.integers(-9, 9).map(str)), min_size=1, max_size=12))
    monkeypatch_pieces(data.draw(st.integers(8, 200)))
    path = tmp_path / "a.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, quotechar=quote, lineterminator=ends, quoting=quoting)
        writer.writerows([("t", "x", "n"), *rows])
    table = read(path, delimiter=delimiter, quote=quote, column_types={"t": "string"})
    missing = "" if quoting == csv.QUOTE_ALL else None
    assert table["t"].to_pylist() == [t or missing for t, _, _ in rows]
    assert table["n"].to_pylist() == [int(n) for _, _, n in rows]
    whole = all(x.lstrip("-").isdigit() for _, x, _ in rows)
    assert table["x"].to_pylist() == [int(x) if whole else float(x) for _, x, _ in rows]
    oracle = pl.read_csv(
        path, separator=delimiter, quote_char=quote, schema_overrides={"t": pl.String}, infer_schema_length=None
    )
    assert oracle["n"].to_list() == table["n"].to_pylist()
    assert [t or None for t in oracle["t"]] == [t or None for t in table["t"].to_pylist()]


WHOLE = st.integers(-(2**63), 2**63 - 1).map(str)
KINDS = {
    "int64": WHOLE,
    "double": st.one_of(WHOLE.filter(lambda text: len(text) < 15), st.floats(-1e300, 1e300).map(repr)),
    "string": st.text(alphabet="ab,;|'\"~ \n1.é", max_size=6).map("t".__add__),
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_types_and_values_of_several_files_are_those_of_polars_over_the_concatenation(
    tmp_path, data, monkeypatch_pieces
):
    """Types found over all files, with missing values, texts for them, lines before the header, and no header at all."""
    delimiter, quote = data.draw(st.sampled_from([(",", '"'), (";", "'"), ("\t", '"'), ("|", "~")]))
    marker, ends = data.draw(st.sampled_from(["NULL", "-", "n/a"])), data.draw(st.sampled_from(["\n", "\r\n"]))
    header, skipped = data.draw(st.booleans()), data.draw(st.integers(0, 2))
    kinds = ["string", *data.draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=3))]
    missing = st.sampled_from(["", marker])
    row = st.tuples(KINDS["string"], *(st.one_of(KINDS[kind], KINDS[kind], missing) for kind in kinds[1:]))
    files = data.draw(st.lists(st.lists(row, min_size=1, max_size=5), min_size=1, max_size=3))
    monkeypatch_pieces(data.draw(st.integers(8, 200)))

    def write(path, rows):
        with open(path, "w", newline="", encoding="utf-8") as file:
            file.write(f"of a report{ends}" * skipped)
            writer = csv.writer(file, delimiter=delimiter, quotechar=quote, lineterminator=ends)
            writer.writerows([[f"c{at}" for at in range(len(kinds))], *rows] if header else rows)
        return path

    paths = [write(tmp_path / f"{number}.csv", rows) for number, rows in enumerate(files)]
    ours = read(paths, delimiter=delimiter, quote=quote, header=header, skip_rows=skipped, null_values=[marker])
    whole = write(tmp_path / "whole.txt", [row for rows in files for row in rows])
    theirs = pl.read_csv(
        whole, separator=delimiter, quote_char=quote, has_header=header, skip_rows=skipped, null_values=[marker],
        infer_schema_length=None,
    ).to_arrow()  # fmt: skip
    for name, other, values in zip(ours.schema, theirs.schema, zip(*(row for rows in files for row in rows))):
        found, expected = ours[name.name].to_pylist(), theirs[other.name].to_pylist()
        assert found == expected or {*values} <= {"", marker}, name
        assert str(name.type) == str(other.type).removeprefix("large_") or {*values} <= {"", marker}, name


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


# Bytes that mean something to a reader of CSV, often beside each other, which random bytes seldom are.
TOKENS = st.sampled_from(
    [
        b",", b"\n", b"\r", b"\r\n", b'"', b"1", b"x", b" ", b"\0", b"\xef\xbb\xbf", b"\xff", "é".encode(), b"NA", b"\\", b"1,2\n",
    ]
)  # fmt: skip


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


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    data=st.one_of(st.binary(max_size=200), st.lists(TOKENS, max_size=60).map(b"".join)).map(
        lambda tail: b"a,b\n" + tail
    ),
    piece_bytes=st.integers(4, 64),
)
@example(data=b"a,b\n\xef\xbb\xbf", piece_bytes=4)
@example(data=b"a,b\n\xef\xbb\xbf1,2\n\xef\xbb\xbf3,4\n", piece_bytes=8)
def test_any_bytes_are_read_or_refused_with_the_file(tmp_path, data, piece_bytes, monkeypatch_pieces):
    monkeypatch_pieces(piece_bytes)
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    options = {"column_types": {"a": "string", "b": "string"}}
    refused = None
    try:
        table = read(path, **options)
    except DataError as error:
        refused = error
    if refused is not None:
        assert refused.path == str(path)
        return
    whole = pa.csv.read_csv(
        path, pa.csv.ReadOptions(), pa.csv.ParseOptions(newlines_in_values=True),
        pa.csv.ConvertOptions(
            column_types={"a": pa.string(), "b": pa.string()}, null_values=[""], strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )  # fmt: skip
    assert table.to_pydict() == whole.to_pydict()
