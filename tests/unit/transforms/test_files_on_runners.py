"""What TFRecord files really hold, whatever their names say, on every runner: TFT's result over what TensorFlow reads, or the reason."""

from __future__ import annotations

import gzip
import zlib

import pytest
import tensorflow as tf
import tensorflow_transform as tft

from engine import DataError, Dataset
from tests.support import parity
from transforms import analyze

RUNNERS = ["local", "BundleBasedDirectRunner"]


def _example(value):
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
    return tf.train.Example(features=tf.train.Features(feature={"x": feature})).SerializeToString()


def _sequence(value):
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
    lists = tf.train.FeatureLists(feature_list={"frames": tf.train.FeatureList(feature=[feature])})
    return tf.train.SequenceExample(feature_lists=lists).SerializeToString()


def _records(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path.read_bytes()


def _sum(inputs):
    return {"y": inputs["x"] - tft.sum(inputs["x"], reduce_instance_dims=True)}


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_packing_that_the_name_does_not_say_is_recognized(runner, tmp_path):
    spec = {"x": tf.io.FixedLenFeature([], tf.float32)}
    names = {"a.tfrecord": gzip.compress, "b.tfrecord.gz": bytes, "c.tfrecord": zlib.compress, "d.gz": zlib.compress}
    for at, (name, pack) in enumerate(names.items()):
        raw = _records(tmp_path / "plain", [_example(10.0**at), _example(10.0**at)])
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_bytes(pack(raw))
    graph = analyze(Dataset.open(tmp_path / "data", spec), _sum, str(tmp_path / "graph"), runner).path
    one = parity.pa.table({"x": parity.pa.array([0.0], parity.pa.float32())})
    assert parity.outputs(graph, one, spec)["y"][0] == -2222.0


@pytest.mark.parametrize("runner", RUNNERS)
def test_sequence_examples_among_examples_are_refused_by_record_or_read_as_by_tensorflow(runner, tmp_path):
    path = tmp_path / "a.tfrecord"
    records = [_example(1.0), _example(2.0), _sequence(3.0)]
    _records(path, records)
    spec = {"x": tf.io.FixedLenFeature([], tf.float32)}
    with pytest.raises(DataError, match="'x'") as caught:
        analyze(Dataset.open(path, spec), _sum, str(tmp_path / "graph"), runner)
    assert (caught.value.path, caught.value.record) == (str(path), 2)
    assert not (tmp_path / "graph").exists()
    spec = {"x": tf.io.FixedLenFeature([], tf.float32, default_value=7.0)}
    graph = analyze(Dataset.open(path, spec), _sum, str(tmp_path / "graph"), runner).path
    one = parity.pa.table({"x": parity.pa.array([0.0], parity.pa.float32())})
    total = tf.reduce_sum(tf.io.parse_example(records, spec)["x"]).numpy()
    assert parity.outputs(graph, one, spec)["y"][0] == -total == -10.0
