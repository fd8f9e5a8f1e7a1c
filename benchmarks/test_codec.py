"""The codec's speed claims, each as a ratio to a peer on the same rows in the same run. Checksums are on.

python -m pytest benchmarks/test_codec.py --benchmark-only -s
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import criteo
from benchmarks.pairs import paired, record_pair
from engine import Dataset, write_batches

ROWS = int(os.environ.get("FULLPASS_BENCH_ROWS", "1000000"))
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "5"))
PEER_ROWS = min(ROWS, 40_000)  # the peers are an order of magnitude slower; ratios are per record


def read_ours(path, schema=criteo.SCHEMA, **options):
    rows = sum(batch.num_rows for batch in Dataset.open(path, schema).read_batches(8192, **options))
    assert rows == (ROWS if str(ROWS) in path else PEER_ROWS)
    return rows


def payloads(path):
    import tensorflow as tf

    return [record.numpy() for record in tf.data.TFRecordDataset(path)]


def tfmd_schema():
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    kinds = {pa.int64(): "INT", pa.float32(): "FLOAT", pa.binary(): "BYTES"}
    text = "".join(f'feature {{ name: "{f.name}" type: {kinds[f.type]} }} ' for f in criteo.SCHEMA)
    return text_format.Parse(text, schema_pb2.Schema()).SerializeToString()


def read_tfx_bsl(records, batch_rows=8192):
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    decoder = ExamplesToRecordBatchDecoder(tfmd_schema())
    return [decoder.DecodeBatch(records[i : i + batch_rows]) for i in range(0, len(records), batch_rows)]


def read_tensorflow(path, compression=""):
    import tensorflow as tf

    spec = criteo.feature_spec()
    dataset = tf.data.TFRecordDataset(path, compression).batch(8192).map(lambda batch: tf.io.parse_example(batch, spec))
    rows = 0
    for batch in dataset:
        rows += len(batch["label"])
    assert rows == PEER_ROWS


def run(benchmark, ours):
    benchmark.pedantic(ours, rounds=1)


def test_tfrecord_to_arrow_against_tfx_bsl(benchmark):
    path, records = criteo.file(num_rows=ROWS), payloads(criteo.file(num_rows=PEER_ROWS))
    result = paired(lambda: read_ours(path), lambda: read_tfx_bsl(records), ROUNDS, ours_size=ROWS, peer_size=PEER_ROWS)
    ours = pa.Table.from_batches(Dataset.open(criteo.file(num_rows=PEER_ROWS), criteo.SCHEMA).read_batches())
    theirs = pa.Table.from_batches(read_tfx_bsl(records))
    for name in criteo.SCHEMA.names:
        flat = theirs[name].combine_chunks().flatten()
        assert digest(ours[name].combine_chunks().drop_null()) == digest(flat)
    run(benchmark, lambda: read_ours(path))
    record_pair(benchmark, result, "tfx_bsl ExamplesToRecordBatchDecoder", ROWS)


def digest(array):
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return hashlib.blake2b("".join(map(repr, array.to_pylist())).encode(), digest_size=8).hexdigest()


def test_tfrecord_to_batch_against_tf_data_parse_example(benchmark):
    path, small, spec = criteo.file(num_rows=ROWS), criteo.file(num_rows=PEER_ROWS), criteo.feature_spec()
    result = paired(
        lambda: read_ours(path, spec), lambda: read_tensorflow(small), ROUNDS, ours_size=ROWS, peer_size=PEER_ROWS
    )
    run(benchmark, lambda: read_ours(path, spec))
    record_pair(benchmark, result, "tf.data + parse_example, batch 8192", ROWS)


def test_gzip_tfrecord_against_tf_data_parse_example(benchmark):
    path, small = criteo.file("tfrecord", "gzip", ROWS), criteo.file("tfrecord", "gzip", PEER_ROWS)
    spec = criteo.feature_spec()
    result = paired(
        lambda: read_ours(path, spec),
        lambda: read_tensorflow(small, "GZIP"),
        ROUNDS,
        ours_size=ROWS,
        peer_size=PEER_ROWS,
    )
    run(benchmark, lambda: read_ours(path, spec))
    record_pair(benchmark, result, "tf.data GZIP + parse_example, batch 8192", ROWS)


def test_gzip_tfrecord_against_tfx_bsl(benchmark):
    path, small = criteo.file("tfrecord", "gzip", ROWS), criteo.file("tfrecord", "gzip", PEER_ROWS)

    def peer():
        import tensorflow as tf

        read_tfx_bsl(
            [record for batch in tf.data.TFRecordDataset(small, "GZIP").batch(8192) for record in batch.numpy()]
        )

    result = paired(lambda: read_ours(path), peer, ROUNDS, ours_size=ROWS, peer_size=PEER_ROWS)
    run(benchmark, lambda: read_ours(path))
    record_pair(benchmark, result, "gzip TFRecordDataset + tfx_bsl decoder", ROWS)


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
    run(benchmark, lambda: write_ours(batches, count, tmp_path))
    record_pair(benchmark, result, "tf.train.Example + TFRecordWriter", count)


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
    run(benchmark, lambda: write_ours(batches, count, tmp_path))
    record_pair(benchmark, result, "tfx_bsl RecordBatchToExamplesEncoder + TFRecordWriter", count)


def test_parquet_to_batches_against_pyarrow(benchmark):
    path = criteo.file("parquet", "zstd", ROWS)

    def ours():
        assert sum(batch.num_rows for batch in Dataset.open(path).read_batches(65536)) == ROWS

    def peer():
        assert sum(batch.num_rows for batch in pq.ParquetFile(path).iter_batches(65536, use_threads=False)) == ROWS

    result = paired(ours, peer, ROUNDS)
    run(benchmark, ours)
    record_pair(benchmark, result, "pyarrow iter_batches", ROWS)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor: two threads cannot be faster")
def test_two_threads_against_one(benchmark):
    path = criteo.file(num_rows=ROWS)
    result = paired(lambda: read_ours(path, threads=2), lambda: read_ours(path, threads=1), 3 * ROUNDS)
    run(benchmark, lambda: read_ours(path, threads=2))
    record_pair(benchmark, result, "one thread", ROWS)


def test_peak_memory_when_the_file_grows_tenfold(benchmark):
    program = (
        "import sys; from benchmarks import criteo; from engine import Dataset;"
        "n = sum(b.num_rows for b in Dataset.open(sys.argv[1], criteo.SCHEMA).read_batches(8192));"
        "print(n, next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )

    def peak(path):
        output = subprocess.run(
            [sys.executable, "-c", program, path], check=True, capture_output=True, text=True
        ).stdout
        return [int(word) for word in output.split()]

    small_rows, small = peak(criteo.file(num_rows=ROWS // 10))
    large_rows, large = peak(criteo.file(num_rows=ROWS))
    assert large_rows == 10 * small_rows
    benchmark.extra_info["peak memory, tenfold file"] = (
        f"{large / small - 1:+.1%} ({small >> 10} MiB to {large >> 10} MiB)"
    )
    print(f"\n{benchmark.extra_info}")
    assert large < small * 1.1
    run(benchmark, lambda: None)
