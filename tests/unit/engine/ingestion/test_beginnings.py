"""How a file begins tells its format only where nothing else could begin so; an empty part file is what the others are."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib

import pyarrow as pa
import pytest

from engine import DataError, Dataset, ingest, open_source
from engine.dataset.write import write_batches
from engine.formats.csv.options import CsvOptions
from tests.unit.engine.ingestion.test_pipes import piped

# Words that other formats' files begin with, and first two bytes of zlib.
HEADERS = ["ORCID", "PAR1", "ARROW1", "FEA1", "BZhigh", "BZh91AY", "x^2", "x^", "Obj", "PK"]


@pytest.mark.parametrize("word", HEADERS)
@pytest.mark.parametrize("rows", ["1,2\n", ""])
def test_text_that_begins_as_other_formats_do_is_text(tmp_path, word, rows):
    text = f"{word},y\n{rows}".encode()
    (tmp_path / "part-00000").write_bytes(text)
    (tmp_path / "a.csv").write_bytes(text)
    with piped(text) as pipe:
        for path in (tmp_path / "part-00000", tmp_path / "a.csv", pipe):
            source = open_source(path)
            assert source.schema.names == [word, "y"] and source.num_records == rows.count("\n")


@pytest.mark.parametrize(
    "text",
    [
        b"<!DOCTYPE html>\n<html>log in</html>\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n",
        b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>\n',
        b'{"a": 1, "b": 2}\n{"a": 3, "b": 4}\n',
        b'[{"a": 1, "b": 2},\n {"a": 3, "b": 4}]\n',
    ],
)
def test_what_is_no_csv_is_not_read_as_rows_of_odd_columns(tmp_path, text):
    (tmp_path / "a.csv").write_bytes(text)
    with pytest.raises(DataError, match=r"has no row of column names: it begins with .* so it is"):
        open_source(tmp_path / "a.csv")
    with piped(bz2.compress(text)) as pipe, pytest.raises(DataError):
        open_source(pipe)


def test_json_array_in_a_pipe_is_named(tmp_path):
    for text in (b'[{"a": 1}]', gzip.compress(b'[{"a": 1}]')):
        with piped(text) as pipe, pytest.raises(DataError, match="one JSON array"):
            open_source(pipe)


CSV, LINES = b"x,s\n1,a\n2,b\n", b'{"x":1,"s":"a"}\n{"x":2,"s":"b"}\n'


def zstd(data):
    return pa.compress(data, "zstd", asbytes=True)


PACKERS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstd, ".xz": lzma.compress}


@pytest.mark.parametrize("end", PACKERS)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_empty_files_among_others_contradict_nothing(tmp_path, kind, end):
    if (kind, end) == ("jsonl", ".xz"):
        pytest.skip("pyarrow does not unpack xz")
    pack = PACKERS[end]
    (tmp_path / f"part-1.{kind}{end}").write_bytes(pack(CSV if kind == "csv" else LINES))
    alone = open_source(tmp_path)
    for number, data in ((0, b""), (2, pack(b"")), (3, pack(b"\n"))):
        (tmp_path / f"part-{number}.{kind}{end}").write_bytes(data)
    source = open_source(tmp_path)
    assert source.schema == alone.schema and not any(field.nullable for field in source.schema)
    assert pa.Table.from_batches(source.batches()).to_pydict() == {"x": [1, 2], "s": ["a", "b"]}
    assert ("holds nothing" in str(source.notes) or "hold nothing" in str(source.notes)) == (kind == "csv")


@pytest.mark.parametrize("name", ["part-0000{}", "part-0000{}.gz"])
def test_empty_files_without_a_telling_name_are_what_the_others_are(tmp_path, name):
    table = pa.table({"x": [1, 2], "s": [b"a", b"b"]})
    write_batches(table.to_batches(), table.schema, str(tmp_path / "shard"), "tfrecord", "gzip")
    records = (tmp_path / "shard").read_bytes()
    (tmp_path / "shard").unlink()
    (tmp_path / name.format(0)).write_bytes(b"")
    (tmp_path / name.format(2)).write_bytes(gzip.compress(b""))
    for full, rows in ((gzip.compress(CSV), "csv"), (gzip.compress(LINES), "jsonl"), (records, "tfrecord")):
        (tmp_path / name.format(1)).write_bytes(full)
        assert open_source(tmp_path).num_records == 2
        if rows != "csv":
            dataset = Dataset.open(tmp_path)
            assert dataset.format == rows and dataset.verify().ok
            assert sum(batch.num_rows for batch in dataset.read_batches()) == 2


def test_empty_files_alone(tmp_path):
    for number, data in enumerate((b"", gzip.compress(b""), b"\n \n")):
        path = tmp_path / f"{number}.csv"
        path.write_bytes(data)
        with pytest.raises(DataError, match="is empty"):
            open_source(path)
    (tmp_path / "a.tfrecord.zlib").write_bytes(zlib.compress(b""))
    assert Dataset.open(tmp_path / "a.tfrecord.zlib").num_records == 0


def test_rows_of_missing_values_alone_are_no_empty_file(tmp_path):
    """Without a header tabs and blanks may be all that a row has."""
    (tmp_path / "1.tsv").write_bytes(b"1\t2\n3\t4\n")
    (tmp_path / "2.tsv").write_bytes(b"\t\n\t\n")
    both = [str(tmp_path / "1.tsv"), str(tmp_path / "2.tsv")]
    assert open_source(both, csv_options=CsvOptions(header=False)).num_records == 4
    (tmp_path / "blank.csv").write_bytes(b" \n \n")
    assert open_source(str(tmp_path / "blank.csv"), csv_options=CsvOptions(header=False)).num_records == 2


@pytest.mark.parametrize("name", [b"BZhello", b"PAR1", b"{id}"])
def test_a_control_character_as_delimiter_is_not_another_format(tmp_path, name):
    """Hive's own is 0x01."""
    (tmp_path / "a.csv").write_bytes(name + b"\x01b\n1\x012\n")
    source = open_source(str(tmp_path / "a.csv"), csv_options=CsvOptions(delimiter="\x01"))
    assert source.num_records == 1 and source.schema.names == [name.decode(), "b"]


def test_a_part_of_skipped_lines_alone_contradicts_nothing(tmp_path):
    (tmp_path / "1.csv").write_bytes(b"# c\nx\n1\n")
    (tmp_path / "2.csv").write_bytes(b"# c\n")
    both = [str(tmp_path / "1.csv"), str(tmp_path / "2.csv")]
    assert open_source(both, csv_options=CsvOptions(skip_rows=1)).num_records == 1


def test_excels_line_that_names_the_delimiter_is_no_header(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfsep=;\r\nx;y\r\n1;a,b\r\n2;c\r\n")
    (tmp_path / "b.csv").write_bytes(b"x,y\n3,d\n")
    (tmp_path / "c.csv").write_bytes(b"sep=,x\n1\n")
    ingest(str(tmp_path / "a.csv"), tmp_path / "out", num_shards=1)
    (batch,) = Dataset.open(tmp_path / "out").read_batches()
    assert batch.to_pydict() == {"x": [1, 2], "y": ["a,b", "c"]}
    assert open_source([str(tmp_path / name) for name in ("a.csv", "b.csv")]).num_records == 3
    given = open_source(str(tmp_path / "a.csv"), csv_options=CsvOptions(delimiter="|"))
    assert given.schema.names == ["x;y"], "what is given by name goes before it"
    bare = open_source(str(tmp_path / "a.csv"), csv_options=CsvOptions(header=False))
    assert (bare.num_records, bare.schema.names) == (3, ["f0", "f1"])
    assert open_source(str(tmp_path / "a.csv"), csv_options=CsvOptions(skip_rows=1, delimiter=";")).num_records == 2
    with pytest.raises(
        DataError, match="Expected 2 columns, got 1"
    ):  # two names for it: that line is a header of its own
        open_source(str(tmp_path / "c.csv"))
