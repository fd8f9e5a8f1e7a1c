"""tf.data as TensorFlow's guides write it: files interleaved, shuffled, batched, parsed, prefetched."""

from __future__ import annotations

import os
import zlib
from typing import Any

from benchmarks.data import criteo, transformed

__all__ = ["epoch", "letters", "payloads", "raw_epoch"]


def epoch(paths: list[str], check: bool = False) -> tuple[int, int]:
    """Returns (records, sum of the integers where `check`) of an epoch of transformed rows."""
    import tensorflow as tf

    spec = {n: tf.io.FixedLenFeature([], tf.float32) for n in transformed.FLOATS}
    spec |= {n: tf.io.FixedLenFeature([], tf.int64) for n in transformed.INTS}
    records = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths), seed=1)
    records = records.interleave(tf.data.TFRecordDataset, cycle_length=16, num_parallel_calls=tf.data.AUTOTUNE)
    batches = records.shuffle(transformed.WINDOW, seed=1).batch(transformed.BATCH_SIZE)
    batches = batches.map(lambda x: tf.io.parse_example(x, spec), tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    count, total = 0, 0
    for batch in batches:
        count += len(batch["f0"])
        total += sum(int(batch[n].numpy().sum()) for n in transformed.INTS) if check else 0
    return count, total


def raw_epoch(path: str, check: bool = False) -> tuple[int, int]:
    """Returns (records, sum of the strings' checksums where `check`) of an epoch of raw click logs."""
    import tensorflow as tf

    spec = criteo.feature_spec()
    batches = tf.data.TFRecordDataset([path]).shuffle(transformed.WINDOW, seed=1).batch(transformed.BATCH_SIZE)
    batches = batches.map(lambda x: tf.io.parse_example(x, spec), tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    count, total = 0, 0
    for batch in batches:
        count += len(batch["label"])
        total += sum(letters(batch[f"C{i}"].numpy()) for i in range(1, 27)) if check else 0
    return count, total


def payloads(path: str | os.PathLike[str]) -> list[bytes]:
    """Returns the serialized records of a TFRecord file."""
    import tensorflow as tf

    return [record.numpy() for record in tf.data.TFRecordDataset(str(path))]


def letters(strings: Any) -> int:
    """Returns the sum of the strings' checksums, which does not depend on their order."""
    return sum(map(zlib.crc32, strings.ravel()))
