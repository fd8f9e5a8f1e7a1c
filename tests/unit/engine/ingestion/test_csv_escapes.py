"""CSV with escape characters, as MySQL, Hive and Spark write it: the values are those of Python's csv and of pyarrow."""

from __future__ import annotations

import csv
import gzip

import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cluster.cli.main import main
from engine import ConfigError, DataError, Dataset
from engine.formats.csv import pieces
from engine.formats.csv.options import CsvOptions
from tests.support.text_tables import read

BACKSLASH = "\\"


def by_pyarrow(path, delimiter, quote):
    return pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=delimiter, quote_char=quote or False, escape_char=BACKSLASH, newlines_in_values=True
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={"a": pa.string(), "b": pa.string()}, null_values=[], strings_can_be_null=False
        ),
    ).to_pydict()


def by_python(path, delimiter, quote):
    with open(path, newline="") as file:
        kind = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
        rows = csv.reader(file, delimiter=delimiter, quotechar=quote or None, quoting=kind, escapechar=BACKSLASH)
        head, *rest = [row for row in rows if row]
    return {name: [row[at] for row in rest] for at, name in enumerate(head)}


LETTERS = st.text(alphabet="ab\"\\,;\n 1N'é", max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(LETTERS, LETTERS), min_size=1, max_size=8),
    quote=st.sampled_from(['"', "'", ""]),
    delimiter=st.sampled_from([",", ";"]),
    quoted=st.lists(st.booleans(), min_size=16, max_size=16),
    doubled=st.booleans(),
    size=st.integers(1, 40),
)
@example(rows=[("\\", "\n")], quote="", delimiter=",", quoted=[False] * 16, doubled=False, size=1)
@example(rows=[('"', ',"')], quote="'", delimiter=",", quoted=[False] * 16, doubled=False, size=2)
def test_values_are_those_of_python_and_pyarrow(tmp_path, rows, quote, delimiter, quoted, doubled, size):
    """Whatever is escaped, quoted or both, and wherever pieces of the file end."""
    choices = iter(quoted)

    def written(value):
        if quote and (next(choices) or not value):
            value = value.replace(BACKSLASH, BACKSLASH * 2)
            return quote + value.replace(quote, quote * 2 if doubled else BACKSLASH + quote) + quote
        special = {BACKSLASH, delimiter, "\n", quote or "a"}
        return "".join(BACKSLASH + letter if letter in special else letter for letter in value) or BACKSLASH + "x"

    text = f"a{delimiter}b\n" + "".join(delimiter.join(map(written, row)) + "\n" for row in rows)
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", size)
        options = {"quote": quote, "escape": "backslash", "delimiter": delimiter}
        found = read(path, column_types={"a": "string", "b": "string"}, null_values=["none"], **options)
    ours = {name: [value or "" for value in found[name].to_pylist()] for name in "ab"}
    assert ours == by_python(path, delimiter, quote) == by_pyarrow(path, delimiter, quote)


def test_the_command_and_a_table_take_it_too(tmp_path):
    (tmp_path / "a.csv").write_text('id,t\n1,"say \\"x\\", y"\n2,a\\,b\n3,c\\\\\n')
    assert main(["-q", "ingest", str(tmp_path / "a.csv"), "--out", str(tmp_path / "out"), "--escape", "backslash"]) == 0
    table = pa.Table.from_batches(Dataset.open(tmp_path / "out").read_batches())
    assert table.to_pydict() == {"id": [1, 2, 3], "t": ['say "x", y', "a,b", "c\\"]}


def test_a_text_that_means_missing_may_begin_with_the_escape_character(tmp_path):
    """MySQL and Hive write \\N; Python and pyarrow would read an N of it."""
    (tmp_path / "a.tsv").write_text('id\tn\tt\n1\t\\N\t\\N\n\\N\t2\tN\\N\n3\t4\t"\\N"\n')
    found = read(tmp_path / "a.tsv", escape="\\", null_values=["\\N"])
    assert found.to_pydict() == {"id": [1, None, 3], "n": [None, 2, 4], "t": [None, "NN", "N"]}
    plain = read(tmp_path / "a.tsv", escape="\\")
    assert plain.to_pydict() == {"id": ["1", "N", "3"], "n": ["N", "2", "4"], "t": ["N", "NN", "N"]}


def test_a_text_that_means_missing_may_hold_quotes_where_none_are_around_values(tmp_path):
    (tmp_path / "a.csv").write_text('a,b\n"",x\\,y\n\\N,"\'\n"q",\'\n')
    found = read(tmp_path / "a.csv", quote="none", escape="\\", null_values=['""', "\\N", "'"])
    assert found.to_pydict() == {"a": [None, None, '"q"'], "b": ["x,y", "\"'", None]}


def test_lines_before_the_header_are_not_looked_at_and_excels_line_counts(tmp_path):
    (tmp_path / "a.csv").write_text('"half\\\nsep=x\na,b\n1,x\\,y\n')
    assert read(tmp_path / "a.csv", escape="\\", skip_rows=2).to_pydict() == {"a": [1], "b": ["x,y"]}
    (tmp_path / "b.csv").write_text("sep=;\na;b\n1;x\\;y\n")
    assert read(tmp_path / "b.csv", escape="\\").to_pydict() == {"a": [1], "b": ["x;y"]}
    (tmp_path / "c.csv").write_text("a\\,a,b\n1,2\n")
    assert read(tmp_path / "c.csv", escape="\\").to_pydict() == {"a,a": [1], "b": [2]}


@pytest.mark.parametrize(
    ("text", "what", "record"),
    [
        ("a,b\n1,2\n3,x\\", r"ends in the escape character '\\\\'", 1),
        ('a,b\n1,"x"y\\n\n', "text follows the quote that closes a value, at line 2", 0),
        ('a,b\n1,x\\\ny\n2,"x\\"\n', "the quote that opens at line 4 is never closed", 1),
        ("a,b\n1,x\\\ny\n1,2,3\n", r"Expected 2 columns, got 3: '1,2,3' \(line 4\)", 1),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_wrong_is_named_with_its_line_and_record(tmp_path, text, what, record, packed):
    path = tmp_path / ("a.csv.gz" if packed else "a.csv")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    with pytest.raises(DataError, match=what) as caught:
        read(path, escape="\\")
    assert (caught.value.path, caught.value.record) == (str(path), record)


@pytest.mark.parametrize(
    "options", [{"escape": "\\\\"}, {"escape": "é"}, {"escape": '"'}, {"escape": ";", "delimiter": ";"}]
)
def test_characters_that_escape_nothing_are_refused(options):
    with pytest.raises(ConfigError, match="escape"):
        CsvOptions(**options)


def test_a_value_far_longer_than_a_piece(tmp_path):
    value = "x\\,y\n" * 50_000
    (tmp_path / "a.csv").write_text(f'a,b\n1,"{value}"\n2,z\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", 1000)
        found = read(tmp_path / "a.csv", escape="\\")
    assert found["b"].to_pylist() == [value.replace("\\,", ","), "z"]
