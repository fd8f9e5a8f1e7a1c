"""A Parquet footer is covered by no checksum: one that contradicts itself is refused, and never ends the process."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import DataError, Dataset
from engine.formats.parquet.open_file import open_parquet

duckdb = pytest.importorskip("duckdb")

ROWS = 4
NUMBERS = {
    "int32": pa.array([1, 2, 3, 4], pa.int32()),
    "int64": pa.array([1, 2, None, 4], pa.int64()),
    "float": pa.array([1.5, 2, 3, 4], pa.float32()),
    "double": pa.array([1.5, None, 3, 4]),
    "bool": pa.array([True, False, None, True]),
}
OTHERS = {
    "text": pa.array(["a", "b", None, "d"]),
    "fixed": pa.array([b"ab", b"cd", b"ef", None], pa.binary(2)),
    "time": pa.array([1, 2, 3, 4], pa.timestamp("us")),
    "decimal": pa.array([Decimal("1.20")] * ROWS, pa.decimal128(12, 2)),
    "list": pa.array([[1, 2], [], None, [3]]),
}
TABLES = {"numbers": NUMBERS, "others": OTHERS}

# Reads the file with one byte of its footer changed, as often as asked for; a line says what is tried, the next what came of it.
CHILD = """
import json, os, random, sys
import pyarrow as pa
from engine import DataError, Dataset

path, times = sys.argv[1], int(sys.argv[2])

def read():
    ds = Dataset.open(path)
    ds.splits(target_bytes=1)
    return pa.Table.from_batches(list(ds.read_batches()), schema=ds.schema)

def same(found, whole):
    # Of what type the stored values are said to be, the footer's word is all there is.
    return found.schema.names == whole.schema.names and all(
        a.to_pylist() == b.to_pylist() or (a.type != b.type and len(a) == len(b)) for a, b in zip(found.columns, whole.columns))

with open(path, "rb") as file:
    stored = file.read()
length = int.from_bytes(stored[-8:-4], "little")
whole, chance = read(), random.Random(7)
for change in range(times):
    changed = bytearray(stored)
    at = len(stored) - 8 - chance.randrange(1, length + 1)
    changed[at] = chance.randrange(256)
    with open(path, "wb") as file:
        file.write(changed)
    os.utime(path, ns=(change * 10**9, change * 10**9))  # an opened file is kept until it looks changed
    print(json.dumps([at, stored[at], changed[at]]), flush=True)
    try:
        found = read()
        if found.equals(whole):
            outcome = "same"
        else:
            outcome = "other type" if same(found, whole) else "other rows"
    except DataError as error:
        outcome = "refused" if error.path == path else f"no path: {error}"
    except Exception as error:
        outcome = repr(error)
    print(json.dumps(outcome), flush=True)
"""


@pytest.mark.parametrize("name", TABLES)
def test_a_changed_byte_of_the_footer_is_refused_or_changes_no_value(tmp_path, name):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(TABLES[name]), path, row_group_size=2, write_page_checksum=True)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), "1200"], capture_output=True, text=True, timeout=300, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (lines[-1], done.stderr[-500:])
    outcomes = dict.fromkeys(lines[1::2], 0)
    for outcome in lines[1::2]:
        outcomes[outcome] += 1
    assert set(outcomes) <= {"refused", "same", "other type"}, outcomes
    assert outcomes["refused"] > 300
    assert outcomes.get("other type", 0) < 30


def test_numbers_of_a_footer_are_those_that_pyarrow_reads(tmp_path):
    path = tmp_path / "a.parquet"
    nested = pa.array([{"a": 1, "b": ["x"]}] * ROWS)
    table = pa.table({**NUMBERS, **OTHERS, "nested": nested})
    pq.write_table(
        table, path, row_group_size=3, use_dictionary=["int32", "text"], write_statistics=["int64", "list", "text"]
    )
    footer, metadata = open_parquet(str(path)).footer, pq.read_metadata(path)
    assert footer.rows == metadata.num_rows == ROWS
    assert footer.group_rows == (3, 1)
    for group, row_group in enumerate(metadata.row_group(i) for i in range(2)):
        assert footer.group_bytes[group] == row_group.total_byte_size
        for index, path_in_schema in enumerate(footer.paths):
            chunk = row_group.column(index)
            assert path_in_schema == chunk.path_in_schema
            assert footer.compressed[group, index] == chunk.total_compressed_size
            assert footer.uncompressed[group, index] == chunk.total_uncompressed_size
            assert footer.data_page[group, index] == chunk.data_page_offset
            first = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
            assert footer.first_page[group, index] == first
            known = chunk.statistics is not None and chunk.statistics.has_null_count
            assert footer.nulls[group, index] == (chunk.statistics.null_count if known else -1)


def written_by_polars(path):
    frame = pl.DataFrame({"a": [1, None, 3], "l": [[1], None, [2, 3]], "n": [None] * 3, "s": [{"x": ["q"]}] * 3})
    frame.write_parquet(path, row_group_size=2, statistics=False)


def written_by_duckdb(path):
    query = "select range a, case when range % 3 = 0 then null else 'x' end s, [range] l, uuid() u from range(5000)"
    duckdb.sql(query).write_parquet(str(path), row_group_size=2048)


OTHER_WRITERS = {
    "no row": lambda path: pq.write_table(pa.table(NUMBERS).slice(0, 0), path),
    "a group without rows": lambda path: with_an_empty_group(path),
    "no column": lambda path: pl.DataFrame().write_parquet(path),
    "no row of polars": lambda path: pl.DataFrame({"a": [1]}).head(0).write_parquet(path),
    "polars": written_by_polars,
    "duckdb": written_by_duckdb,
    "no row of duckdb": lambda path: duckdb.sql("select 1 a where false").write_parquet(str(path)),
    "int96": lambda path: pq.write_table(pa.table(OTHERS), path, use_deprecated_int96_timestamps=True),
    "page index": lambda path: pq.write_table(pa.table(OTHERS), path, write_page_index=True, data_page_version="2.0"),
}


def with_an_empty_group(path):
    table = pa.table(NUMBERS)
    with pq.ParquetWriter(path, table.schema) as writer:
        for part in (table, table.slice(0, 0), table):
            writer.write_table(part)


@pytest.mark.parametrize("name", OTHER_WRITERS)
def test_footers_of_all_writers_agree_with_themselves(tmp_path, name):
    path = tmp_path / "a.parquet"
    OTHER_WRITERS[name](path)
    footer, metadata = open_parquet(str(path)).footer, pq.read_metadata(path)
    assert (footer.rows, len(footer.group_rows), len(footer.paths)) == (
        metadata.num_rows,
        metadata.num_row_groups,
        metadata.num_columns,
    )
    sizes = [
        [metadata.row_group(group).column(index).total_compressed_size for index in range(metadata.num_columns)]
        for group in range(metadata.num_row_groups)
    ]
    assert footer.compressed.tolist() == sizes


def changed(path: Path, old: bytes, new: bytes, place: int) -> None:
    """Writes `new` over the occurrence of `old` in the file that has this number."""
    data, at = path.read_bytes(), -1
    for _ in range(place + 1):
        at = data.index(old, at + 1)
    path.write_bytes(data[:at] + new + data[at + len(old) :])


def test_what_contradicts_itself_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"amount": pa.array([1, 2], pa.int64())}), path, store_schema=False)
    whole = path.read_bytes()
    changed(path, b"amount", b"anount", 1)  # in the chunk's path; the first is the schema's name
    (damage,) = Dataset.open(str(path)).verify().damages
    assert "damaged footer: column 'amount' of row group 0 is called 'anount' there" in str(damage)
    with pytest.raises(DataError, match="is called 'anount' there") as raised:
        list(Dataset.open(str(path)).read_batches())
    assert raised.value.path == str(path)
    assert len(whole) > raised.value.offset_bytes > len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    path.write_bytes(whole)
    # Field 1, an i32, of the chunk: its type INT64 (2, zigzag 4), then its encodings, a list.
    changed(path, b"\x15\x04\x19", b"\x15\x0a\x19", whole.count(b"\x15\x04\x19") - 1)
    with pytest.raises(DataError, match="of row group 0 is of type DOUBLE, the schema says INT64"):
        Dataset.open(str(path)).splits(target_bytes=1)
