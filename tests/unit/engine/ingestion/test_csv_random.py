"""Random CSV, in any dialect and cut anywhere, against Python's csv, polars and pyarrow."""

from __future__ import annotations

import csv
import io

import polars as pl
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine import DataError
from tests.support.text_tables import read


def read_or_refused(path, **options):
    """The table, or None where the file is refused, by its name."""
    try:
        return read(path, **options)
    except DataError as error:
        refused = error
    assert refused.path == str(path)
    return None


def ended(path):
    """A file's bytes with a line end behind them: pyarrow takes nothing at the very end for quoted where the value before it is."""
    data = path.read_bytes()
    return io.BytesIO(data if data.endswith((b"\n", b"\r")) else data + b"\n")


@pytest.fixture
def monkeypatch_pieces(monkeypatch):
    return lambda size: monkeypatch.setattr("engine.formats.csv.pieces.PIECE_BYTES", size)


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=6)
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str), st.floats(allow_nan=False, allow_infinity=False).map(repr)
)


SOME = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@SOME
@given(data=st.data())
def test_any_dialect_reads_as_python_writes_it(tmp_path, data, monkeypatch_pieces):
    """Random texts, numbers, delimiters, quotes, line ends, blank lines, cuts, with names or none: the cells that csv.writer was given."""
    delimiter, quote = data.draw(st.tuples(st.sampled_from(",;\t|:^ \x01"), st.sampled_from("\"'~")))
    ends = data.draw(st.sampled_from(["\n", "\r\n"]))
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    names = data.draw(st.sampled_from([None, ("t", "x", "n")]))
    rows = data.draw(st.lists(st.tuples(CELLS, NUMBERS, st.integers(-9, 9).map(str)), min_size=1, max_size=12))
    blank = data.draw(st.lists(st.integers(0, 2), min_size=len(rows) + 1, max_size=len(rows) + 1))
    monkeypatch_pieces(data.draw(st.integers(8, 200)))
    path = tmp_path / "a.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, quotechar=quote, lineterminator=ends, quoting=quoting)
        for row, lines in zip([*([] if names else [("t", "x", "n")]), *rows], [0, *blank]):
            file.write(ends * lines)
            writer.writerow(row)
        file.write(ends * blank[-1])
    table = read(path, delimiter=delimiter, quote=quote, column_types={"t": "string"}, column_names=names)
    missing = None if quoting == csv.QUOTE_MINIMAL else ""
    assert table["t"].to_pylist() == [t or missing for t, _, _ in rows]
    assert table["n"].to_pylist() == [int(n) for _, _, n in rows]
    whole = all(x.lstrip("-").isdigit() for _, x, _ in rows)
    assert table["x"].to_pylist() == [int(x) if whole else float(x) for _, x, _ in rows]
    if any(blank):  # of which polars makes rows
        return
    oracle = pl.read_csv(
        path, separator=delimiter, quote_char=quote, has_header=not names, new_columns=names,
        schema_overrides={"column_1" if names else "t": pl.String}, infer_schema_length=None,
    )  # fmt: skip
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


# Bytes that mean something to a reader of CSV, often beside each other, which random bytes seldom are.
TOKENS = st.sampled_from(
    [
        b",", b"\n", b"\r", b"\r\n", b'"', b"1", b"x", b" ", b"\0", b"\xef\xbb\xbf", b"\xff", "é".encode(), b"NA", b"\\", b"1,2\n",
    ]
)  # fmt: skip


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
    table = read_or_refused(path, column_types={"a": "string", "b": "string"})
    if table is None:
        return
    whole = pa.csv.read_csv(
        ended(path), pa.csv.ReadOptions(), pa.csv.ParseOptions(newlines_in_values=True),
        pa.csv.ConvertOptions(
            column_types={"a": pa.string(), "b": pa.string()}, null_values=[""], strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )  # fmt: skip
    assert table.to_pydict() == whole.to_pydict()


PIECES = [
    "{d}",
    "{q}",
    "{e}",
    "\n",
    "{q}{q}",
    "{e}{q}",
    "{e}{d}",
    "\n\n",
    "1",
    "x",
    " ",
    "\r\n",
    "1{d}2\n",
    "{q}x{d}\n{q}{d}y\n",
]


@settings(parent=SOME, max_examples=200)
@given(
    delimiter=st.sampled_from(",;\t|:^ \x01"),
    quote=st.sampled_from(['"', "'", "~", ""]),
    escape=st.sampled_from(["", "\\", "!"]),
    header=st.booleans(),
    tokens=st.lists(st.sampled_from(PIECES), max_size=30),
    piece_bytes=st.integers(4, 64),
)
def test_any_text_in_any_dialect_is_what_pyarrow_reads_or_refused(
    tmp_path, delimiter, quote, escape, header, tokens, piece_bytes, monkeypatch_pieces
):
    monkeypatch_pieces(piece_bytes)
    path = tmp_path / "a.csv"
    text = "".join(["a{d}b\n" if header else "p{d}q\n", *tokens]).format(d=delimiter, q=quote, e=escape)
    path.write_bytes(text.encode())
    names = None if header else ("a", "b")
    options = {"delimiter": delimiter, "quote": quote, "escape": escape, "column_names": names, "null_values": ["-"]}
    table = read_or_refused(path, column_types={"a": "string", "b": "string"}, **options)
    if table is None:
        return
    whole = pa.csv.read_csv(
        ended(path), pa.csv.ReadOptions(column_names=names),
        pa.csv.ParseOptions(
            delimiter=delimiter, quote_char=quote or False, escape_char=escape or False, newlines_in_values=True
        ),
        pa.csv.ConvertOptions(
            column_types={"a": pa.string(), "b": pa.string()}, null_values=[""], strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )  # fmt: skip
    assert table.to_pydict() == whole.to_pydict()
