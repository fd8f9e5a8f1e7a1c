"""Keys looked up by hashes while tracing: TFT's comparison of each record with each key is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_transform import tf_utils

from transforms.tft.lean_reductions import lean_reductions

KEYS = [b"k%d" % each for each in range(50)] + [b"", b"\x00", b"\x00\x00"]


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ([*KEYS[::-1], b"absent", b"k1", b"k1"], KEYS),
        ([], KEYS),
        ([b"a", b"b"], []),
        ([[b"k3", b"no"], [b"", b"k3"]], KEYS),
    ],
)
def test_lookup_of_keys_is_that_of_tft(query, keys):
    query = tf.constant(np.array(query, object)) if query else tf.zeros([0], tf.string)
    keys = tf.constant(np.array(keys, object)) if keys else tf.zeros([0], tf.string)
    want = tf_utils.lookup_key(query, keys)
    with lean_reductions():
        got = tf_utils.lookup_key(query, keys)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got.numpy(), want.numpy())


def test_boundaries_are_looked_up_by_tft_itself():
    boundaries = tf.constant([1.0, 1.0, 2.0])
    with lean_reductions():
        assert tf_utils.lookup_key(tf.constant([1.0]), boundaries).numpy() == [1]


def test_lookup_makes_no_matrix_of_records_and_keys():
    with tf.Graph().as_default() as graph, lean_reductions():
        tf_utils.lookup_key(tf.compat.v1.placeholder(tf.string, [None]), tf.compat.v1.placeholder(tf.string, [None]))
    assert not any(operation.type == "BroadcastTo" for operation in graph.get_operations())
