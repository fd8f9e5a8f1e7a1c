"""The shuffled training feed to TensorFlow tensors, beside the readers that its users have today.

All read the same million rows (peers a part of them, in turn with us), shuffled through about 65,000 records, in batches
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
import zlib

import numpy as np
import pytest

from benchmarks import criteo, transformed
from benchmarks.pairs import paired, record_pair
from benchmarks.test_plan import peak_kib

PEER_ROWS = 100_000
RAW_ROWS = 400_000
ROUNDS = int(os.environ.get("FEED_ROUNDS", "5"))
WINDOW = 65_536


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


def tf_data_epoch(paths, check=False):
    """The feed of TensorFlow's guides: files interleaved, shuffled, batched, parsed, prefetched."""
    import tensorflow as tf

    spec = {n: tf.io.FixedLenFeature([], tf.float32) for n in transformed.FLOATS}
    spec |= {n: tf.io.FixedLenFeature([], tf.int64) for n in transformed.INTS}
    records = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths), seed=1)
    records = records.interleave(tf.data.TFRecordDataset, cycle_length=16, num_parallel_calls=tf.data.AUTOTUNE)
    batches = records.shuffle(WINDOW, seed=1).batch(transformed.BATCH_SIZE)
    batches = batches.map(lambda x: tf.io.parse_example(x, spec), tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    count, total = 0, 0
    for batch in batches:
        count += len(batch["f0"])
        total += sum(int(batch[n].numpy().sum()) for n in transformed.INTS) if check else 0
    return count, total


def split_row(row):
    """A packed row of bytes as its floats and integers."""
    cut = 4 * len(transformed.FLOATS)
    return np.frombuffer(row[:cut], np.float32), np.frombuffer(row[cut:], np.int64)


def grain_epoch(paths, check=False):
    """Grain over ArrayRecord files of packed rows: global shuffle, batches of numpy arrays, read in threads."""
    import grain

    rows = grain.MapDataset.source(grain.sources.ArrayRecordDataSource(paths)).shuffle(seed=1).map(split_row)
    batches = rows.batch(transformed.BATCH_SIZE, drop_remainder=False).to_iter_dataset()
    return summed(batches, check)


def webdataset_epoch(paths, check=False):
    """WebDataset over tar files of packed rows."""
    import webdataset

    rows = webdataset.WebDataset(paths, shardshuffle=16, seed=1, empty_check=False).shuffle(WINDOW)
    rows = rows.map(lambda sample: split_row(sample["row"]))
    return summed(rows.batched(transformed.BATCH_SIZE, partial=True), check)


def petastorm_epoch(path, check=False):
    """Petastorm's batch reader over our Parquet shards, its own row groups shuffled."""
    from petastorm import make_batch_reader

    with make_batch_reader(f"file://{path}", num_epochs=1, shuffle_row_groups=True, workers_count=2) as reader:
        count, total = 0, 0
        for batch in reader:
            count += len(batch.f0)
            total += sum(int(getattr(batch, name).sum()) for name in transformed.INTS) if check else 0
    return count, total


def summed(batches, check):
    count, total = 0, 0
    for floats, ints in batches:
        count += len(floats)
        total += int(ints.sum()) if check else 0
    return count, total


def compare(benchmark, peer_name, peer, peer_rows):
    dataset = transformed.parquet()
    assert our_epoch(dataset, check=True) == sums(transformed.NUM_ROWS)
    assert peer(check=True) == sums(peer_rows)
    result = paired(
        lambda: our_epoch(dataset), peer, ROUNDS, ours_size=transformed.NUM_ROWS, peer_size=peer_rows, warm_up=False
    )
    record_pair(benchmark, result, peer_name, transformed.NUM_ROWS)
    benchmark.extra_info["peer_records_per_s"] = round(peer_rows / result.peer_s)
    benchmark.pedantic(our_epoch, args=(dataset,), rounds=1)
    return result


def test_feed_against_tf_data_tfrecord_and_parse_example(benchmark):
    paths = transformed.tfrecords(PEER_ROWS).paths
    result = compare(benchmark, "tf.data TFRecord + parse_example", functools.partial(tf_data_epoch, paths), PEER_ROWS)
    assert result.cpu_ratio_median >= 15  # of processor time: what a core does, whoever else is on it


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
        total += letters(packed["bytes"].numpy()[held]) if check else 0
    return count, total


def raw_peer_epoch(path, check=False):
    """The same rows as `tf_data_epoch` reads them."""
    import tensorflow as tf

    spec = criteo.feature_spec()
    batches = tf.data.TFRecordDataset([path]).shuffle(WINDOW, seed=1).batch(transformed.BATCH_SIZE)
    batches = batches.map(lambda x: tf.io.parse_example(x, spec), tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    count, total = 0, 0
    for batch in batches:
        count += len(batch["label"])
        total += sum(letters(batch[f"C{i}"].numpy()) for i in range(1, 27)) if check else 0
    return count, total


def letters(strings):
    """The sum of the strings' checksums, which does not depend on their order."""
    return sum(map(zlib.crc32, strings.ravel()))


@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
def test_feed_of_raw_strings_against_tf_data_tfrecord_and_parse_example(benchmark, format):
    ours, peer = criteo.file(format, num_rows=RAW_ROWS), criteo.file("tfrecord", num_rows=PEER_ROWS)
    same = criteo.file(format, num_rows=PEER_ROWS)
    assert raw_epoch(same, check=True) == raw_peer_epoch(peer, check=True)
    result = paired(
        lambda: raw_epoch(ours),
        lambda: raw_peer_epoch(peer),
        ROUNDS,
        ours_size=RAW_ROWS,
        peer_size=PEER_ROWS,
        warm_up=False,
    )
    record_pair(benchmark, result, "tf.data TFRecord + parse_example", RAW_ROWS)
    assert benchmark.pedantic(raw_epoch, args=(ours,), rounds=1)[0] == RAW_ROWS
    assert result.cpu_ratio_median > 1


def test_feed_against_grain_array_record(benchmark):
    pytest.importorskip("grain")
    paths = transformed.array_records(PEER_ROWS)
    assert (
        compare(benchmark, "grain ArrayRecord", functools.partial(grain_epoch, paths), PEER_ROWS).cpu_ratio_median > 1
    )


def test_feed_against_webdataset(benchmark):
    pytest.importorskip("webdataset", reason="webdataset is not installed: pip install webdataset")
    paths = transformed.tar_shards(PEER_ROWS)
    assert compare(benchmark, "webdataset", functools.partial(webdataset_epoch, paths), PEER_ROWS).cpu_ratio_median > 1


def test_feed_against_petastorm(benchmark):
    pytest.importorskip("petastorm", reason="petastorm is not installed, or does not load with this pyarrow")
    path = os.path.dirname(transformed.parquet(PEER_ROWS).paths[0])
    assert (
        compare(
            benchmark, "petastorm make_batch_reader", functools.partial(petastorm_epoch, path), PEER_ROWS
        ).cpu_ratio_median
        > 1
    )


def test_feed_peak_memory_when_data_grow_tenfold(benchmark):
    peaks = {}
    for rows in (transformed.NUM_ROWS, 10 * transformed.NUM_ROWS):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.test_feed", json.dumps(transformed.parquet(rows).paths)],
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
