"""Rows may be images: what a server records, and what it reads of that before a version answers, is bounded by bytes too."""

import time

import numpy as np
import tensorflow as tf

from trainers.serving.server import ModelConfig, ServeConfig
from trainers.serving.server.loads.warmup import warm_up
from trainers.serving.server.observe.recording import Recorder
from trainers.serving.server.signatures import Signature, TensorSpec


def _recorder(folder):
    return Recorder(
        ServeConfig(
            models=(ModelConfig(name="m", directory="m"),), record_share=1.0, record_directory=str(folder)
        )
    )  # fmt: skip


def _shards(folder):
    return sorted(folder.glob("*.tfrecord"))


def _records(file):
    return list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator())


def test_shards_of_large_rows_have_fewer_of_them(tmp_path):
    recorder = _recorder(tmp_path)
    image = {"image": np.array([b"i" * (17 << 20)], object)}
    for number in range(3):
        recorder.offer("m", 1, image, {"y": np.array([number])})
    recorder.close()
    assert recorder.left_out == 0 and [len(_records(file)) for file in _shards(tmp_path)] == [2, 1]


def test_large_requests_that_the_disk_does_not_keep_up_with_are_left_out_and_not_kept_in_memory(tmp_path):
    recorder = _recorder(tmp_path)
    image = {"image": np.array([b"i" * (12 << 20)], object)}
    for number in range(12):  # far faster than the first is written
        recorder.offer("m", 1, image, {"y": np.array([number])})
    recorder.close()
    kept = sum(len(_records(file)) for file in _shards(tmp_path))
    assert kept + recorder.left_out == 12 and 1 <= kept < 12


def test_a_request_of_any_size_is_recorded_where_none_waits(tmp_path):
    recorder = _recorder(tmp_path)
    recorder.offer("m", 1, {"x": np.array([b"i" * (65 << 20)], object)}, {"y": np.zeros(1)})
    recorder.close()
    assert recorder.left_out == 0 and len(_shards(tmp_path)) == 1


def test_of_large_recorded_rows_a_version_is_asked_as_many_as_fit_into_memory(tmp_path):
    example = tf.train.Example()
    example.features.feature["image"].bytes_list.value.append(b"i" * (15 << 20))
    example.features.feature["served.model"].bytes_list.value.append(b"m")
    with tf.io.TFRecordWriter(str(tmp_path / f"requests-{time.time_ns()}.tfrecord")) as writer:
        for _ in range(6):
            writer.write(example.SerializeToString())
    asked = []

    def run(examples):
        asked.append(len(examples.numpy()))
        return {"y": tf.zeros(len(examples))}

    spec = TensorSpec(np.dtype(object), tf.string, (None,))
    signature = Signature("serving_default", {"examples": spec}, {}, run, parsed=frozenset(["examples"]))
    assert warm_up({"serving_default": signature}, tmp_path, str(tmp_path), "m") == 2
    assert asked == [1, 5], "75 MiB of 90"
