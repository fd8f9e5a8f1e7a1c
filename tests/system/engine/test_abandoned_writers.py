"""A write that fails leaves no half-open writer to the garbage collector, which would raise in the middle of other work."""

from __future__ import annotations

import gc
import sys

import pyarrow as pa
import pytest

from engine import DataError, write_batches
from engine.dataset.shards import ShardSet

SCHEMA = pa.schema([pa.field("x", pa.int64(), nullable=False)])
GOOD = pa.record_batch([pa.array(range(40_000))], schema=SCHEMA)
BAD = pa.record_batch([pa.array(["text"])], names=["x"])


@pytest.fixture
def raised_in_finalizers(monkeypatch):
    """The errors that finalizers raised, kept as text: the objects would keep their garbage alive."""
    gc.collect()
    errors: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda seen: errors.append(repr(seen.exc_value)))
    return errors


@pytest.mark.parametrize(("format", "compression"), [("parquet", "zstd"), ("tfrecord", None), ("tfrecord", "gzip")])
def test_write_batches_that_fails_leaves_nothing_to_finalizers(tmp_path, format, compression, raised_in_finalizers):
    with pytest.raises(DataError):
        write_batches([GOOD, BAD], SCHEMA, str(tmp_path / "x"), format, compression)
    gc.collect()
    assert raised_in_finalizers == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("format", "compression"), [("parquet", "zstd"), ("tfrecord", "gzip")])
def test_shard_set_that_fails_leaves_nothing_to_finalizers(tmp_path, format, compression, raised_in_finalizers):
    with pytest.raises(DataError):
        with ShardSet(
            str(tmp_path), SCHEMA, format=format, compression=compression, num_shards=2, num_records=10**6
        ) as shards:
            shards.push(GOOD)
            shards.push(BAD)
    gc.collect()
    assert raised_in_finalizers == []
    assert list(tmp_path.iterdir()) == []
