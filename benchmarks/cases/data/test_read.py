"""Reading TFRecord and Parquet, each as a ratio to a peer on the same rows in the same run. Checksums are on."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.data import criteo
from benchmarks.harness.stages import note_stages
from benchmarks.peers.arrow_readers import by_duckdb, by_polars
from benchmarks.peers.registry import PEERS
from benchmarks.peers.tf_data import payloads
from cluster.benchmarking.pairs import paired
from cluster.benchmarking.results import record_pair
from engine import Dataset

ROWS = int(os.environ.get("FULLPASS_BENCH_ROWS", "1000000"))
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "5"))
PEER_ROWS = min(ROWS, 40_000)  # the peers are an order of magnitude slower; ratios are per record


def read_ours(path, schema=criteo.SCHEMA, **options):
    rows = sum(batch.num_rows for batch in Dataset.open(path, schema).read_batches(8192, **options))
    assert rows == (ROWS if str(ROWS) in path else PEER_ROWS)
    return rows


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


def test_tfrecord_to_arrow_against_tfx_bsl(benchmark):
    path, records = criteo.file(num_rows=ROWS), payloads(criteo.file(num_rows=PEER_ROWS))
    result = paired(lambda: read_ours(path), lambda: read_tfx_bsl(records), ROUNDS, ours_size=ROWS, peer_size=PEER_ROWS)
    ours = pa.Table.from_batches(Dataset.open(criteo.file(num_rows=PEER_ROWS), criteo.SCHEMA).read_batches())
    theirs = pa.Table.from_batches(read_tfx_bsl(records))
    for name in criteo.SCHEMA.names:
        flat = theirs[name].combine_chunks().flatten()
        assert digest(ours[name].combine_chunks().drop_null()) == digest(flat)
    note_stages(benchmark, lambda: read_ours(path))
    benchmark.pedantic(lambda: read_ours(path), rounds=1)
    record_pair(
        benchmark,
        result,
        "tfx_bsl's decoder",
        ROWS,
        what="TFRecord to Arrow",
        package="tfx-bsl",
        paths=path,
        headline=True,
    )


def digest(array):
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return hashlib.blake2b("".join(map(repr, array.to_pylist())).encode(), digest_size=8).hexdigest()


def test_tfrecord_to_batch_against_tf_data_parse_example(benchmark):
    path, small, spec = criteo.file(num_rows=ROWS), criteo.file(num_rows=PEER_ROWS), criteo.feature_spec()
    result = paired(
        lambda: read_ours(path, spec), lambda: read_tensorflow(small), ROUNDS, ours_size=ROWS, peer_size=PEER_ROWS
    )
    benchmark.pedantic(lambda: read_ours(path, spec), rounds=1)
    record_pair(
        benchmark,
        result,
        "tf.data + `parse_example`",
        ROWS,
        what="TFRecord to batches",
        package="tensorflow",
        paths=path,
        headline=True,
    )


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
    benchmark.pedantic(lambda: read_ours(path, spec), rounds=1)
    record_pair(
        benchmark,
        result,
        "tf.data + `parse_example`",
        ROWS,
        what="gzip TFRecord to batches",
        package="tensorflow",
        paths=path,
        headline=True,
    )


def test_gzip_tfrecord_against_tfx_bsl(benchmark):
    path, small = criteo.file("tfrecord", "gzip", ROWS), criteo.file("tfrecord", "gzip", PEER_ROWS)

    def peer():
        import tensorflow as tf

        read_tfx_bsl(
            [record for batch in tf.data.TFRecordDataset(small, "GZIP").batch(8192) for record in batch.numpy()]
        )

    result = paired(lambda: read_ours(path), peer, ROUNDS, ours_size=ROWS, peer_size=PEER_ROWS)
    benchmark.pedantic(lambda: read_ours(path), rounds=1)
    record_pair(
        benchmark,
        result,
        "TFRecordDataset + tfx_bsl's decoder",
        ROWS,
        what="gzip TFRecord to Arrow",
        package="tfx-bsl",
        paths=path,
    )


def test_parquet_to_batches_against_pyarrow(benchmark):
    path = criteo.file("parquet", "zstd", ROWS)

    def ours():
        assert sum(batch.num_rows for batch in Dataset.open(path).read_batches(65536)) == ROWS

    def peer():
        assert sum(batch.num_rows for batch in pq.ParquetFile(path).iter_batches(65536, use_threads=False)) == ROWS

    result = paired(ours, peer, ROUNDS)
    benchmark.pedantic(ours, rounds=1)
    record_pair(
        benchmark,
        result,
        "pyarrow's `iter_batches`",
        ROWS,
        what="Parquet to batches",
        package="pyarrow",
        paths=path,
        headline=True,
    )


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor: two threads cannot be faster")
def test_two_threads_against_one(benchmark):
    path = criteo.file(num_rows=ROWS)
    result = paired(lambda: read_ours(path, threads=2), lambda: read_ours(path, threads=1), 3 * ROUNDS)
    benchmark.pedantic(lambda: read_ours(path, threads=2), rounds=1)
    record_pair(benchmark, result, "one thread", ROWS, what="two threads on one TFRecord file", paths=path)


@pytest.mark.full
def test_peak_memory_when_the_file_grows_tenfold(benchmark):
    program = (
        "import sys; from benchmarks.data import criteo; from engine import Dataset;"
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
    benchmark.pedantic(lambda: None, rounds=1)


@pytest.mark.parametrize("package", ["polars", "duckdb"])
def test_parquet_to_arrow_against(benchmark, package):
    """Every column of every row as Arrow; ours and duckdb on one thread, polars on all cores."""
    path = criteo.file("parquet", "zstd", ROWS)
    peer = {"polars": by_polars, "duckdb": by_duckdb}[package]
    result = paired(lambda: counted(Dataset.open(path).read_batches(65536)), lambda: peer(path), ROUNDS)
    benchmark.pedantic(lambda: counted(Dataset.open(path).read_batches(65536)), rounds=1)
    record_pair(benchmark, result, PEERS[package].title, ROWS, what="Parquet to Arrow", package=package, paths=path)


def counted(batches):
    assert sum(batch.num_rows for batch in batches) == ROWS
