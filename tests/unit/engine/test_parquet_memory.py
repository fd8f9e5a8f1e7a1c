"""Parquet whose pages are a few bytes and whose rows are megabytes: batches are bounded by what they take in memory."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import Dataset
from engine.formats.parquet import batch_rows

BOUND = 1 << 20
TEXT = "x" * 10_000


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(batch_rows, "MAX_BATCH_BYTES", BOUND)
    monkeypatch.setattr(batch_rows, "FIRST_BYTES", BOUND // 4)


def write(table, path, **options):
    """Writes what a reader without the note of Arrow types reads as plain text."""
    pq.write_table(table, path, store_schema=False, compression="zstd", **options)


TABLES = {
    "equal texts": pa.table({"s": pa.array([TEXT] * 3000).dictionary_encode(), "i": range(3000)}),
    "long texts behind short ones": pa.table({"s": pa.array(["a"] * 1500 + [TEXT] * 1500), "i": range(3000)}),
    "lists of equal numbers": pa.table({"l": pa.repeat(pa.scalar([7] * 1250), 3000), "i": range(3000)}),
    "lists of equal texts": pa.table({"l": [[TEXT] * 3] * 1000}),
    "texts inside": pa.table({"s": [{"t": TEXT, "n": 1}] * 3000}),
}


@pytest.mark.parametrize("group_rows", [3000, 700])
@pytest.mark.parametrize("what", TABLES)
def test_batches_are_bounded_by_what_pages_decode_to(tmp_path, what, group_rows):
    table = TABLES[what]
    write(table, tmp_path / "a.parquet", row_group_size=group_rows)
    assert (tmp_path / "a.parquet").stat().st_size < 200_000
    expected = pq.read_table(tmp_path / "a.parquet")
    assert expected.nbytes > 10 * BOUND
    for on_damage in ("raise", "skip"):
        batches = list(Dataset.open(tmp_path / "a.parquet").read_batches(on_damage=on_damage))
        assert pa.Table.from_batches(batches).cast(expected.schema).equals(expected)
        assert max(batch.nbytes for batch in batches) <= 2 * BOUND


@pytest.mark.parametrize("version", ["1.0", "2.6"])
def test_texts_that_begin_alike(tmp_path, version):
    texts = [TEXT + str(number) for number in range(2000)]
    write(
        pa.table({"s": texts}), tmp_path / "a.parquet", use_dictionary=False, column_encoding={"s": "DELTA_BYTE_ARRAY"},
        version=version,
    )  # fmt: skip
    batches = list(Dataset.open(tmp_path / "a.parquet").read_batches())
    assert [text for batch in batches for text in batch["s"].to_pylist()] == texts
    assert max(batch.nbytes for batch in batches) <= 2 * BOUND


def test_rows_of_ordinary_width_come_as_asked_for(tmp_path):
    table = pa.table({"s": [f"value {n % 300}" for n in range(5000)], "l": [[n, n] for n in range(5000)]})
    write(table, tmp_path / "a.parquet", row_group_size=700)
    found = [batch.num_rows for batch in Dataset.open(tmp_path / "a.parquet").read_batches(batch_rows=2000)]
    assert found == [2000, 2000, 1000]


@pytest.mark.parametrize("batch_rows", [65536, 1000, 70])
def test_dictionaries_in_lists_of_several_row_groups_are_read(tmp_path, batch_rows):
    texts = [[f"value {n % 7}", f"{n // 700}"] for n in range(2500)]
    table = pa.table({"l": pa.array(texts, pa.list_(pa.dictionary(pa.int32(), pa.string()))), "i": range(2500)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=700)
    batches = list(Dataset.open(tmp_path / "a.parquet").read_batches(batch_rows=batch_rows))
    assert [row for batch in batches for row in batch.to_pylist()] == pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert {batch.num_rows for batch in batches[:-1]} <= {batch_rows}


def test_two_readers_of_one_file_have_their_own_batch_rows(tmp_path):
    write(pa.table({"i": np.arange(1000)}), tmp_path / "a.parquet")
    dataset = Dataset.open(tmp_path / "a.parquet")
    pairs = zip(dataset.read_batches(batch_rows=10), dataset.read_batches(batch_rows=100))
    assert {(few.num_rows, many.num_rows) for few, many in pairs} == {(10, 100)}


def test_a_megabyte_that_many_rows_share_is_not_held_once_a_row(tmp_path):
    write(pa.table({"s": pa.array(["x" * 1_000_000] * 600).dictionary_encode()}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 1000
    program = """
        import resource, sys
        from engine import Dataset
        from engine.formats.parquet import batch_rows
        batch_rows.MAX_BATCH_BYTES = 32 << 20
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        data = Dataset.open(sys.argv[1])
        before = peak()
        print(sum(batch.num_rows for batch in data.read_batches()), peak() - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "a.parquet")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows, grown_mib = map(int, done.stdout.split())
    assert rows == 600 and grown_mib < 300
