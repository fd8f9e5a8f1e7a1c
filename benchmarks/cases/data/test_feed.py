"""The shuffled training feed to TensorFlow tensors, beside the readers that its users have today.

All read the same rows (peers a part of them, in turn with us), shuffled through about 65,000 records, in batches
of 8,192. Every run counts its rows; one run of each, not timed, is summed too. The process keeps to one core, which all
threads of a reader share.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.cases.data.test_plan import peak_kib
from benchmarks.data import criteo, transformed
from benchmarks.harness.stages import note_stages
from benchmarks.peers import readers, tf_data
from benchmarks.peers.environments import Elsewhere, is_made
from benchmarks.peers.registry import PEERS
from cluster.benchmarking.pairs import paired
from cluster.benchmarking.results import record_pair

PEER_ROWS = 100_000
ROWS = int(os.environ.get("FULLPASS_BENCH_FEED_ROWS", "1000000"))
SLOW_ROWS = PEER_ROWS if ROWS > PEER_ROWS else PEER_ROWS // 4  # of the slowest peers, which take 60 µs and more a row
RAW_ROWS = min(ROWS, 400_000)
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "5"))
WINDOW = transformed.WINDOW


@pytest.fixture(autouse=True, scope="module")
def one_core():
    """Keeps the process to one core, threads that others started as well; what is measured after this file has all again."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    pin({max(before)})
    yield
    pin(before)


def pin(cores):
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), cores)


def sums(num_rows):
    """(records, sum of the integers) that an epoch of the rows must give."""
    return num_rows, int(transformed.arrays(num_rows)[1].sum())


def our_epoch(dataset, check=False):
    """Our feed to TensorFlow tensors."""
    count, total = 0, 0
    for packed in dataset.feed(
        global_batch_size=transformed.BATCH_SIZE, seed=1, num_epochs=1, remainder=remainder(), window_records=WINDOW
    ).dataset():
        count += int(np.count_nonzero(packed["mask"].numpy()))
        total += int(packed["int64"].numpy().sum()) if check else 0
    return count, total


def remainder():
    from engine import Remainder

    return Remainder.PAD


def compare(benchmark, peer_name, peer, peer_rows, headline=False):
    dataset = transformed.parquet(ROWS)
    assert our_epoch(dataset, check=True) == sums(ROWS)
    assert peer(check=True) == sums(peer_rows)
    result = paired(lambda: our_epoch(dataset), peer, ROUNDS, ours_size=ROWS, peer_size=peer_rows, warm_up=False)
    record_pair(
        benchmark,
        result,
        PEERS[peer_name].title,
        ROWS,
        what="shuffled training feed, one core",
        package=PEERS[peer_name].package,
        paths=dataset.paths,
        headline=headline,
    )
    benchmark.extra_info["peer_records_per_s"] = round(peer_rows / result.peer_s)
    benchmark.pedantic(our_epoch, args=(dataset,), rounds=1)
    return result


def test_feed_against_tf_data_tfrecord_and_parse_example(benchmark):
    paths = transformed.tfrecords(PEER_ROWS).paths
    note_stages(benchmark, lambda: our_epoch(transformed.parquet(ROWS)))
    result = compare(benchmark, "tf.data", functools.partial(tf_data.epoch, paths), PEER_ROWS, True)
    # The floor is that of processor time at the documented size; a short epoch is mostly the feed's start.
    assert result.cpu.median >= 15 or ROWS < 1_000_000


def raw_epoch(path, check=False):
    """Our feed of raw click logs, 26 of their 40 columns strings, to TensorFlow tensors."""
    from engine import Dataset

    feed = Dataset.open(path, feature_spec=criteo.SCHEMA).feed(
        global_batch_size=transformed.BATCH_SIZE,
        seed=1,
        num_epochs=1,
        remainder=remainder(),
        window_records=WINDOW,
        fill={f"I{i}": 0.0 for i in range(1, 14)},
    )
    count, total = 0, 0
    for packed in feed.dataset():
        held = packed["mask"].numpy()
        count += int(np.count_nonzero(held))
        total += tf_data.letters(packed["bytes"].numpy()[held]) if check else 0
    return count, total


@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
def test_feed_of_raw_strings_against_tf_data_tfrecord_and_parse_example(benchmark, format):
    ours, peer = criteo.file(format, num_rows=RAW_ROWS), criteo.file("tfrecord", num_rows=PEER_ROWS)
    same = criteo.file(format, num_rows=PEER_ROWS)
    assert raw_epoch(same, check=True) == tf_data.raw_epoch(peer, check=True)
    result = paired(
        lambda: raw_epoch(ours),
        lambda: tf_data.raw_epoch(peer),
        ROUNDS,
        ours_size=RAW_ROWS,
        peer_size=PEER_ROWS,
        warm_up=False,
    )
    record_pair(
        benchmark,
        result,
        PEERS["tf.data"].title,
        RAW_ROWS,
        what=f"raw click logs ({format}) to tensors, one core",
        package=PEERS["tf.data"].package,
        paths=ours,
        headline=format == "tfrecord",
    )
    assert benchmark.pedantic(raw_epoch, args=(ours,), rounds=1)[0] == RAW_ROWS
    assert result.cpu.median > 1


def test_feed_against_grain_array_record(benchmark):
    pytest.importorskip("grain")
    paths = transformed.array_records(SLOW_ROWS)
    assert compare(benchmark, "grain", functools.partial(readers.grain_epoch, paths), SLOW_ROWS, True).cpu.median > 1


def test_feed_against_webdataset(benchmark):
    pytest.importorskip("webdataset", reason="webdataset is not installed: pip install webdataset")
    paths = transformed.tar_shards(SLOW_ROWS)
    assert (
        compare(benchmark, "webdataset", functools.partial(readers.webdataset_epoch, paths), SLOW_ROWS).cpu.median > 1
    )


@pytest.mark.parametrize("peer", ["mosaicml-streaming", "litdata"])
def test_feed_against_readers_of_pytorch_in_environments_of_their_own(benchmark, tmp_path, peer):
    """Each one's own format under PyTorch's loader, in a process of its own on the same core."""
    if not is_made(peer):
        pytest.skip(f"its environment is not made: python -m benchmarks.peers.environments {peer}")
    rows, floats = transformed.packed_file(SLOW_ROWS), 4 * len(transformed.FLOATS)
    with Elsewhere(peer, rows, tmp_path / "rows", transformed.BATCH_SIZE, floats) as reader:
        result = compare(benchmark, peer, reader.epoch, SLOW_ROWS)
        benchmark.extra_info["peer_version"] = reader.version
    assert result.cpu.median > 1


@pytest.mark.parametrize("peer", ["pyarrow", "duckdb", pytest.param("ray.data", marks=pytest.mark.full)])
def test_feed_against_readers_of_parquet(benchmark, peer):
    """They read whole columns and shuffle a table or a buffer; each as its documents write it."""
    pytest.importorskip({"ray.data": "ray"}.get(peer, peer))
    paths = transformed.parquet(PEER_ROWS).paths
    epoch = {"pyarrow": readers.pyarrow_epoch, "duckdb": readers.duckdb_epoch, "ray.data": readers.ray_epoch}[peer]
    compare(benchmark, peer, functools.partial(epoch, paths), PEER_ROWS)


@pytest.mark.full
def test_feed_peak_memory_when_data_grow_tenfold(benchmark):
    peaks = {}
    for rows in (transformed.NUM_ROWS, 10 * transformed.NUM_ROWS):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.cases.data.test_feed", json.dumps(transformed.parquet(rows).paths)],
            capture_output=True,
            text=True,
            check=True,
        )
        count, peaks[rows] = map(int, done.stdout.split())
        assert count == rows
    small, large = peaks.values()
    benchmark.extra_info.update(peak_mib_1m_rows=small >> 10, peak_mib_10m_rows=large >> 10, growth=large / small - 1)
    print(f"\n{benchmark.name}: {small >> 10} MiB, {large >> 10} MiB: {100 * (large / small - 1):+.1f} %")
    benchmark.pedantic(lambda: None, rounds=1)
    assert large <= 1.1 * small


if __name__ == "__main__":
    from engine import Dataset

    feed = Dataset.open(json.loads(sys.argv[1])).feed(
        global_batch_size=8192, seed=1, num_epochs=1, window_records=WINDOW, lanes=8, remainder=remainder()
    )
    records = sum(int(batch["mask"].sum()) for batch in feed)
    print(records, peak_kib())
