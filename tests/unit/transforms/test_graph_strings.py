"""Strings into and out of graphs as blocks of bytes: what TensorFlow itself makes of them is the oracle."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from transforms.batches import graph_strings
from transforms.batches.graph_strings import StringsTooLarge, as_strings, eager_strings, eager_tensor
from transforms.planning.graph_function import GraphFunction

VALUES = [b"", b"a", b"\x00b\x00", "é".encode(), b"x" * 300, b"", b"twelve bytes"]
ARRAYS = {
    "binary": pa.array(VALUES, pa.binary()),
    "large_binary": pa.array(VALUES, pa.large_binary()),
    "string": pa.array([v.decode() for v in VALUES], pa.string()),
    "dictionary": pa.array(VALUES, pa.binary()).dictionary_encode(),
    "sliced": pa.array([b"first", *VALUES, b"last"], pa.binary()).slice(1, len(VALUES)),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_strings_go_in_as_they_are(kind):
    assert eager_tensor(as_strings(ARRAYS[kind])).numpy().tolist() == VALUES


@pytest.mark.parametrize("shape", [(7,), (7, 1), (1, 7, 1)])
def test_strings_come_out_as_they_are(shape):
    got = eager_strings(tf.reshape(tf.constant(VALUES), shape))
    assert got.shape == shape and got.values.type == pa.binary()
    assert got.to_numpy().tolist() == tf.reshape(tf.constant(VALUES), shape).numpy().tolist()


def test_no_strings_and_one_scalar_go_both_ways():
    for value in (np.zeros((0, 3), object), np.array(b"one", object)):
        there = eager_tensor(as_strings(value))
        back = eager_strings(there)
        assert there.shape == value.shape and back.shape == value.shape
        assert back.to_numpy().tolist() == value.tolist()


def test_a_loaded_graph_gives_what_a_session_gives():
    """String feeds of both ranks, a fetched feed, a constant of strings, a number beside them."""
    with tf.Graph().as_default() as graph:
        flat = tf.compat.v1.placeholder(tf.string, [None], name="flat")
        wide = tf.compat.v1.placeholder(tf.string, [None, 2], name="wide")
        known = tf.compat.v1.placeholder(tf.string, [None], name="known")
        tf.strings.upper(flat, name="upper")
        tf.strings.join([wide, wide], name="joined")
        tf.concat([known, flat], 0, name="both")
        tf.strings.length(wide, name="lengths")
    names = ("upper:0", "joined:0", "both:0", "lengths:0", "flat:0")
    given = [np.array([b"ab", b"", b"c\x00"], object), np.array([[b"p", b"qq"], [b"", b"s"], [b"t", b"u"]], object)]
    constant = np.array([b"k1", b"k2"])
    with tf.compat.v1.Session(graph=graph) as session:
        want = session.run(names, {flat: given[0], wide: given[1], known: constant})
    opened = GraphFunction(
        graph_def=graph.as_graph_def().SerializeToString(),
        feeds=(("flat", 0), ("wide", 0)),
        feed_names=("flat:0", "wide:0"),
        fetches=names,
        constant_names=("known:0",),
        constants=(constant,),
    ).open()
    for fed in (given, [as_strings(given[0]), as_strings(given[1])]):
        got = [each if isinstance(each, np.ndarray) else each.to_numpy() for each in opened(fed)]
        assert [each.tolist() for each in got] == [each.tolist() for each in want]
    opened.close()


def test_strings_beyond_a_message_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(graph_strings, "LIMIT_BYTES", 400)
    with pytest.raises(StringsTooLarge, match="7 strings take"):
        as_strings(pa.array([b"x" * 100] * 7)).proto()
    with pytest.raises(graph_strings.DataError, match="a string takes more than 400 bytes"):
        as_strings(pa.array([b"x" * 500])).proto()
