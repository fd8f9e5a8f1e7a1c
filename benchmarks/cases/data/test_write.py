"""Writing TFRecord from Arrow, beside TensorFlow's and tfx_bsl's ways. What we write is on disk before the clock stops."""

from __future__ import annotations

import os

import pyarrow as pa

from benchmarks.data import criteo
from benchmarks.peers.tf_data import payloads
from cluster.benchmarking.pairs import paired
from cluster.benchmarking.results import record_pair
from engine import write_batches

ROWS = int(os.environ.get("FULLPASS_BENCH_ROWS", "1000000"))
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "5"))


def first_rows(count):
    return pa.Table.from_batches(criteo.batches(count)).combine_chunks().to_batches()[0]


def write_ours(batches, count, directory):
    assert write_batches(batches, criteo.SCHEMA, f"{directory}/ours.tfrecord", "tfrecord") == count


def test_arrow_to_tfrecord_against_python_tensorflow(benchmark, tmp_path):
    import tensorflow as tf

    count, peer_count = min(ROWS, 200_000), 2_000
    batches = list(criteo.batches(count))
    small = first_rows(peer_count)

    def peer():
        with tf.io.TFRecordWriter(str(tmp_path / "peer.tfrecord")) as writer:
            for row in small.to_pylist():
                example = tf.train.Example()
                for name, value in row.items():
                    if value is None:
                        continue
                    feature = example.features.feature[name]
                    kind = (
                        feature.int64_list
                        if isinstance(value, int)
                        else feature.float_list
                        if isinstance(value, float)
                        else feature.bytes_list
                    )
                    kind.value.append(value)
                writer.write(example.SerializeToString())

    result = paired(lambda: write_ours(batches, count, tmp_path), peer, ROUNDS, ours_size=count, peer_size=peer_count)
    write_ours([small], peer_count, tmp_path)
    same = [
        tf.train.Example.FromString(a) == tf.train.Example.FromString(b)
        for a, b in zip(payloads(tmp_path / "ours.tfrecord"), payloads(tmp_path / "peer.tfrecord"))
    ]
    assert len(same) == peer_count and all(same)
    benchmark.pedantic(lambda: write_ours(batches, count, tmp_path), rounds=1)
    record_pair(
        benchmark,
        result,
        "`tf.train.Example` + TFRecordWriter",
        count,
        what="Arrow to TFRecord",
        package="tensorflow",
        headline=True,
    )


def test_arrow_to_tfrecord_against_tfx_bsl_encoder(benchmark, tmp_path):
    import tensorflow as tf
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    count, peer_count = min(ROWS, 200_000), 20_000
    batches = list(criteo.batches(count))
    small = first_rows(peer_count)
    lists = [
        pa.array([None if v is None else [v] for v in column.to_pylist()], pa.list_(column.type))
        for column in small.columns
    ]
    listed = pa.RecordBatch.from_arrays(lists, names=small.schema.names)

    def peer():
        with tf.io.TFRecordWriter(str(tmp_path / "peer.tfrecord")) as writer:
            for payload in RecordBatchToExamplesEncoder().encode(listed):
                writer.write(payload)

    result = paired(lambda: write_ours(batches, count, tmp_path), peer, ROUNDS, ours_size=count, peer_size=peer_count)
    benchmark.pedantic(lambda: write_ours(batches, count, tmp_path), rounds=1)
    record_pair(
        benchmark,
        result,
        "tfx_bsl's encoder + TFRecordWriter",
        count,
        what="Arrow to TFRecord",
        package="tfx-bsl",
        headline=True,
    )
