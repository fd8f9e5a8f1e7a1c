"""What a pass takes from the data set and says of its shards: sizes wherever the files are, names that Beam reads by."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pyarrow as pa
import pytest

from engine import Dataset, Manifest, write_batches
from transforms.analyze import parts_for, split_bytes
from transforms.runners.local import LocalRunner
from transforms.transform import shard_tasks

_GIB = 1 << 30


@pytest.fixture
def shard(tmp_path):
    schema = pa.schema([pa.field("x", pa.int64(), nullable=False)])
    write_batches([pa.record_batch([pa.array([1, 2, 3])], schema=schema)], schema, tmp_path / "x.tfrecord", "tfrecord")
    return tmp_path / "x.tfrecord"


@pytest.mark.parametrize("prefix", ["", "file://", "s3://bucket"])
def test_splits_and_parts_follow_the_size_in_the_manifest_wherever_the_files_are(shard, prefix):
    entry = Dataset.open(shard).manifest.files[0]
    large = dataclasses.replace(entry, path=prefix + entry.path, size_bytes=4 * _GIB)
    dataset = Dataset.open(Manifest((large,), Dataset.open(shard).schema), check_present=False)
    runner = LocalRunner(["--workers=2"])
    assert split_bytes(dataset) == 64 << 20
    assert parts_for(dataset, runner) == 8


def test_size_without_manifest_is_that_of_the_files(shard):
    assert Dataset.open(f"file://{shard}").size_bytes == shard.stat().st_size


@pytest.mark.parametrize(
    ("format", "compression", "beam"),
    [("tfrecord", "gzip", "gzip"), ("tfrecord", "zlib", "deflate"), ("tfrecord", None, "uncompressed")],
)
def test_names_of_transformed_shards_say_their_compression_to_beam(format, compression, beam):
    from apache_beam.io.filesystem import CompressionTypes

    (task,) = shard_tasks([SimpleNamespace(records=3)], None, format, compression)
    assert CompressionTypes.detect_compression_type(task.name) == beam


def test_names_of_parquet_shards_are_one_whatever_compresses_inside():
    names = {shard_tasks([None], None, "parquet", each)[0].name for each in (None, "gzip", "zstd")}
    assert names == {"part-00000-of-00001.parquet"}
