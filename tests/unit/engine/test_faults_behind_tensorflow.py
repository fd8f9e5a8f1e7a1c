"""Shards that are damaged or taken away while TensorFlow reads them: the error is the feed's own, not TensorFlow's."""

from __future__ import annotations

import pyarrow as pa
import pytest

from engine import DataError, Dataset, write_batches
from engine.feed.tensorflow.faults import original_faults


@pytest.fixture(params=["parquet", "tfrecord"])
def shards(request, tmp_path):
    batch = pa.record_batch({"x": pa.array(range(4000), pa.int64())})
    paths = [tmp_path / f"part-{i}.{request.param}" for i in range(2)]
    for path in paths:
        write_batches([batch], batch.schema, str(path), format=request.param)
    return paths


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)


def remove(path):
    path.unlink()


@pytest.mark.parametrize("hurt", [damage, remove])
@pytest.mark.parametrize("replicas", [1, 2])
def test_feed_fault_comes_out_of_tensorflow_with_its_type_and_path(shards, hurt, replicas):
    feed = Dataset.open([str(path) for path in shards]).feed(global_batch_size=100, num_epochs=1)
    data = feed.dataset(replicas)
    hurt(shards[1])
    with pytest.raises(DataError) as found, original_faults():
        for _ in data:
            pass
    assert str(shards[1]) in str(found.value)


def test_error_of_tensorflow_itself_stays_one():
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError), original_faults():
        tf.debugging.assert_equal(tf.constant(1), tf.constant(2))
