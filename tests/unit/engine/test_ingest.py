"""Ingest, schemas and manifests: counts, evenness, types, atomicity."""

from __future__ import annotations

import json
import os
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import ConfigError, DataError, Dataset, Manifest, _native, ingest, read_source
from engine.dataset.sharding.parts.key_split import part_of_rows


def table(rows=5000):
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "user": pa.array([f"u{i % 97}" for i in range(rows)]),
            "x": pa.array([None if i % 10 == 0 else i / 4 for i in range(rows)], pa.float64()),
        }
    )


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in" / "data.parquet"
    path.parent.mkdir()
    pq.write_table(table(), path)
    return path


@pytest.mark.parametrize(
    ("format", "compression"),
    [
        ("parquet", None),
        ("parquet", "gzip"),
        ("parquet", "zstd"),
        ("parquet", "snappy"),
        ("tfrecord", None),
        ("tfrecord", "gzip"),
    ],
)
def test_every_format_and_codec_keeps_every_record_in_even_shards(source, tmp_path, format, compression):
    report = ingest(source, tmp_path / "out", format, 7, compression)
    dataset = Dataset.open(tmp_path / "out")
    got = pa.Table.from_batches(dataset.read_batches())
    assert got["id"].to_pylist() == list(range(5000))
    assert got["x"].to_pylist() == table()["x"].to_pylist()
    assert report.num_records == dataset.num_records == 5000
    counts = [entry.records for entry in dataset.manifest.files]
    assert max(counts) - min(counts) <= 1
    if compression is None:
        sizes = [entry.size_bytes for entry in dataset.manifest.files]
        assert max(sizes) < 1.02 * min(sizes)


def test_split_by_keys_keeps_equal_keys_together_and_shares_near(source, tmp_path):
    report = ingest(source, tmp_path / "out", num_shards=3, split_by=["user"], fractions={"train": 0.8, "eval": 0.2})
    parts = {name: pa.Table.from_batches(Dataset.open(tmp_path / "out" / name).read_batches()) for name in report.parts}
    users = {name: set(part["user"].to_pylist()) for name, part in parts.items()}
    assert not users["train"] & users["eval"]
    assert sorted(parts["train"]["id"].to_pylist() + parts["eval"]["id"].to_pylist()) == list(range(5000))


def test_key_split_shares_follow_the_fractions_and_not_the_type():
    batch = pa.record_batch({"k": pa.array(range(20_000), pa.int64())})
    parts = part_of_rows(batch, ["k"], {"a": 0.7, "b": 0.2, "c": 0.1})
    shares = np.bincount(parts) / 20_000
    np.testing.assert_allclose(shares, [0.7, 0.2, 0.1], atol=0.02)
    narrow = pa.record_batch({"k": pa.array(range(20_000), pa.int32())})
    text = pa.record_batch({"k": pa.array([str(i) for i in range(20_000)])})
    for other in (narrow, text):
        np.testing.assert_array_equal(part_of_rows(other, ["k"], {"a": 0.7, "b": 0.2, "c": 0.1}), parts)
    assert parts[:12].tolist() == part_of_rows(batch.slice(0, 12), ["k"], {"a": 0.7, "b": 0.2, "c": 0.1}).tolist()


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_keys_that_are_equal_as_numbers_have_one_part(kind):
    batch = pa.record_batch({"k": pa.array([0.0, -0.0, None, None, 1.5], kind)})
    fractions = {str(part): 1 / 64 for part in range(64)}  # so many that two hashes are hardly ever of one part
    zero, minus_zero, one_null, other_null, _ = part_of_rows(batch, ["k"], fractions).tolist()
    assert (zero, one_null) == (minus_zero, other_null)


@pytest.mark.parametrize("fractions", [{"a": 0.5, "b": 0.6}, {"a": 1.0, "b": 0.0}, {}])
def test_fractions_that_do_not_sum_to_one_are_refused(source, tmp_path, fractions):
    with pytest.raises(ConfigError):
        ingest(source, tmp_path / "out", split_by=["user"], fractions=fractions)
    assert not (tmp_path / "out").exists()


def test_csv_type_is_that_of_all_rows_not_of_the_first(tmp_path):
    path = tmp_path / "a.csv"
    with open(path, "w") as file:
        file.write("n,late,miss,text\n")
        for i in range(300_000):
            file.write(f"{i},{i if i < 299_990 else 'x'},{'NA' if i % 2 else 0.5},t{i}\n")
    found = pa.Table.from_batches(read_source(path))
    assert found.schema == pa.schema(
        [
            pa.field("n", pa.int64(), nullable=False),
            pa.field("late", pa.string(), nullable=False),
            pa.field("miss", pa.float64()),
            pa.field("text", pa.string(), nullable=False),
        ]
    )
    assert found.num_rows == 300_000
    assert found["late"][299_999].as_py() == "x"
    assert found["miss"].null_count == 150_000


def test_csv_in_zip_and_quoted_newlines(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("a.csv", 'k,t\n1,"two\nlines"\n2,"a,b"\n')
    assert pa.Table.from_batches(read_source(tmp_path / "a.csv.zip")).to_pylist() == [
        {"k": 1, "t": "two\nlines"},
        {"k": 2, "t": "a,b"},
    ]


def test_csv_with_a_short_row_is_refused_with_the_file(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(DataError, match="Expected 2 columns, got 1") as caught:
        ingest(tmp_path / "a.csv", tmp_path / "out")
    assert caught.value.path == str(tmp_path / "a.csv")
    assert os.listdir(tmp_path) == ["a.csv"]


def test_failing_ingest_keeps_what_was_there(source, tmp_path):
    ingest(source, tmp_path / "out", num_shards=2)
    before = Dataset.open(tmp_path / "out").manifest.hash
    data = bytearray(source.read_bytes())
    data[200] ^= 255
    (tmp_path / "bad.parquet").write_bytes(bytes(data[: len(data) // 2]))
    with pytest.raises(DataError):
        ingest(tmp_path / "bad.parquet", tmp_path / "out", num_shards=2)
    assert Dataset.open(tmp_path / "out").manifest.hash == before
    assert sorted(os.listdir(tmp_path)) == ["bad.parquet", "in", "out"]


def test_manifest_moves_with_its_directory_and_refuses_other_versions(source, tmp_path):
    Dataset.open(source).write(tmp_path / "a", num_shards=2)
    os.rename(tmp_path / "a", tmp_path / "b")
    manifest = Manifest.load(str(tmp_path / "b" / "_fullpass_manifest.json"))
    assert Dataset.open(manifest).num_records == 5000
    value = json.loads((tmp_path / "b" / "_fullpass_manifest.json").read_text())
    (tmp_path / "b" / "_fullpass_manifest.json").write_text(json.dumps({**value, "version": 99}))
    with pytest.raises(DataError, match="version 99"):
        Dataset.open(tmp_path / "b")


def test_missing_shard_is_refused(source, tmp_path):
    Dataset.open(source).write(tmp_path / "a", num_shards=3)
    os.remove(tmp_path / "a" / "data-00001-of-00003.parquet")
    with pytest.raises(DataError, match="is listed in the manifest"):
        Dataset.open(tmp_path / "a")


def test_blocks_cover_every_record_in_order(source, tmp_path):
    for format in ("parquet", "tfrecord"):
        manifest = Dataset.open(source).write(tmp_path / format, format, num_shards=3)
        dataset = Dataset.open(tmp_path / format)
        ids = []
        for index, records in enumerate(manifest.block_records()):
            from engine import read_split

            block = [
                v
                for batch in read_split(manifest.block_split(index), dataset.schema)
                for v in batch.column(0).to_pylist()
            ]
            assert len(block) == records
            ids += block
        assert ids == list(range(5000))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 383, 384, 385, 1000, 6143, 6144, 6145, 100_000])
def test_hardware_checksum_equals_the_portable_one(size):
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    assert _native.crc32c(data) == _native.crc32c_portable(data)
    assert _native.crc32c_portable(b"123456789") == 0xE3069283
