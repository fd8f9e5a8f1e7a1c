"""What TensorFlow says of a failing operation becomes one line with the place in the user's file."""

from __future__ import annotations

import inspect
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft

import transforms.beam as fullpass_beam
from engine import ConfigError, DataError, Dataset, FullpassError
from tests.support import parity
from transforms import analyze, transform
from transforms.accumulators.vocabulary.runs import Run
from transforms.finishing.vocabulary import PrunedVocabulary, order_and_write
from transforms.planning.finishers import EvaluationContext
from transforms.tracing.user_errors import graph_errors
from transforms.tracing.user_function import read_lines

_BY_A_WORKER = """UnimplementedError: Graph execution error:

Detected at node 'scale/Cast' defined at (most recent call last):
<stack traces unavailable>
Node: 'scale/Cast'
Cast string to float is not supported
\t [[{{node scale/Cast}}]]

Original stack trace for 'scale/Cast':
  File "elsewhere.py", line 3
"""
_LINES = {"scale/Cast": "features.py:7", "Cast": "features.py:9"}


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (_LINES, "features.py:7: preprocessing_fn failed"),
        ({"Cast": "features.py:9"}, "features.py:9: preprocessing_fn failed"),
        ({}, "preprocessing_fn: failed"),
    ],
)
def test_failure_in_a_worker_names_the_line(lines, place):
    with pytest.raises(ConfigError) as caught:
        with graph_errors(lines, "preprocessing_fn", ["column 'x' is text"], step="analyze"):
            raise FullpassError(_BY_A_WORKER)
    assert str(caught.value) == (
        f"analyze: {place} in TensorFlow at operation scale/Cast: Cast string to float is not supported; column 'x' is text"
    )


def test_hint_is_left_out_where_it_explains_nothing():
    with pytest.raises(ConfigError) as caught:
        with graph_errors(_LINES, "preprocessing_fn", ["column 'x' is text"]):
            raise FullpassError(
                _BY_A_WORKER.replace("Cast string to float is not supported", "Incompatible shapes: [2] vs. [3]")
            )
    assert str(caught.value).endswith("Incompatible shapes: [2] vs. [3]")


@pytest.mark.parametrize(
    "error", [DataError("cut", path="a", record=1), RuntimeError("ours"), OSError("disk"), MemoryError()]
)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, graph_errors(_LINES, "preprocessing_fn"):
        raise error
    assert caught.value is error


def test_lines_that_were_not_noted_are_none(tmp_path):
    assert read_lines(tmp_path) == {}
    (tmp_path / "transform_fn" / "assets.extra").mkdir(parents=True)
    (tmp_path / "transform_fn" / "assets.extra" / "source_lines.json").write_text("{")
    assert read_lines(tmp_path) == {}


def _boom(values):
    raise ValueError("boom")


def _boolean_mask(inputs):
    return {"x": inputs["x"], "kept": tf.boolean_mask(inputs["x"], inputs["x"] > 2)}


def _py_function(inputs):
    values = tf.py_function(_boom, [inputs["x"]], tf.float32)
    return {"z": tft.scale_to_z_score(tf.ensure_shape(values, [None]))}


def _own_table(inputs):
    file = tf.lookup.TextFileInitializer("/no/such/file", tf.string, 0, tf.int64, 1, delimiter="!")
    return {"id": tf.lookup.StaticHashTable(file, 0).lookup(inputs["s"])}


def _one_hot(inputs):
    ids = tft.compute_and_apply_vocabulary(inputs["s"])
    return {"hot": tf.one_hot(ids, tf.cast(tf.reduce_max(ids), tf.int32))}


def _less(inputs):
    with tf.control_dependencies([tf.debugging.assert_less(inputs["x"], 3.0)]):
        return {"z": tft.scale_to_z_score(tf.identity(inputs["x"]))}


def _in_a_branch(inputs):
    x = inputs["x"]
    return {"z": tf.cond(tf.reduce_sum(x) > 0, lambda: tft.scale_to_0_1(x), lambda: x)}


_TABLE = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], tf.constant([1], tf.int64)), 0)


def _outer_table(inputs):
    return {"id": _TABLE.lookup(inputs["s"])}


_FAILING = {
    "raises": (lambda inputs: {"y": inputs["nope"]}, "raised KeyError: 'nope'"),
    "none": (lambda inputs: None, "must return a dict .* returned None"),
    "exit": (lambda inputs: sys.exit(0), "raised SystemExit: 0"),
    "type": (lambda inputs: {"h": tf.cast(inputs["x"], tf.float16)}, "returned output 'h' of type float16"),
    "analyzer in a tf.function": (
        tf.function(lambda inputs: {"z": tft.scale_to_0_1(inputs["x"])}),
        "calls an analyzer inside of a tf.function",
    ),
    "analyzer in a branch": (_in_a_branch, "calls an analyzer inside of a tf.function, a branch"),
    "assertion": (_less, "failed in TensorFlow at operation .*assertion failed"),
    "tuple": (lambda inputs: (inputs["x"],), "must return a dict .* returned a tuple"),
    "nested": (lambda inputs: {"a": {"b": inputs["x"]}}, "returned a dict as output 'a'"),
    "number": (lambda inputs: {"x": inputs["x"], "c": 5}, "returned a int as output 'c', not a tensor"),
    "scalar": (lambda inputs: {"m": tft.mean(inputs["x"])}, "returned a scalar as output 'm'"),
    "unknown dimension": (_one_hot, r"returned output 'hot' of shape \(None, None\)"),
    "rows": (_boolean_mask, "returned output 'kept' with 0 rows for 2 records"),
    "table from outside": (_outer_table, "uses a lookup table that was made outside of it"),
    "table": (_own_table, "makes a lookup table of the file '/no/such/file', which does not exist"),
    "operation": (
        lambda inputs: {"z": tft.scale_to_z_score(tf.strings.to_number(inputs["s"]))},
        "failed in TensorFlow at operation .*: StringToNumberOp could not correctly convert string: a",
    ),
    "operation without an analyzer": (
        lambda inputs: {"z": tf.reshape(tf.strings.to_number(inputs["s"]), [-1])},
        "failed in TensorFlow at operation .*: StringToNumberOp could not correctly convert string: a",
    ),
    "Python in the graph": (_py_function, "failed in TensorFlow at operation EagerPyFunc: ValueError: boom"),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rows = pa.table({"x": pa.array([1.0, 2.0, 3.0, 4.0], pa.float32()), "s": ["a", "b", "a", "3"]})
    spec = {"x": tf.io.FixedLenFeature([], tf.float32), "s": tf.io.FixedLenFeature([], tf.string)}
    return rows, spec, parity.write_table(tmp_path_factory.mktemp("rows"), rows)


@pytest.mark.parametrize("name", _FAILING)
def test_a_failing_function_is_one_line_with_the_place(name, table, tmp_path):
    function, message = _FAILING[name]
    with pytest.raises(ConfigError, match=rf"^test_user_errors\.py:\d+: \S+ {message}") as caught:
        analyze(Dataset.open(table[2], table[1]), function, str(tmp_path / "graph"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "graph").exists()


def test_ctrl_c_stays_itself_beside_an_analyzer_that_is_refused(table, tmp_path):
    def interrupted(inputs):
        _in_a_branch(inputs)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze(Dataset.open(table[2], table[1]), interrupted, str(tmp_path / "graph"))


@pytest.mark.parametrize("name", ["raises", "operation", "Python in the graph"])
@pytest.mark.parametrize("where", ["beam runner", "transforms.beam"])
def test_a_failing_function_names_its_place_on_workers(where, name, table, tmp_path):
    function, message = _FAILING[name]
    with pytest.raises(Exception, match=rf"test_user_errors\.py:\d+: \S+ {message}"):
        if where == "beam runner":
            analyze(Dataset.open(table[2], table[1]), function, str(tmp_path / "graph"), "BundleBasedDirectRunner")
        else:
            parity.tft_analyze(table[0], table[1], function, str(tmp_path / "graph"), fullpass_beam)


def _to_number(inputs):
    return {"n": tf.strings.to_number(inputs["s"])}


@pytest.mark.parametrize("runner", ["local", "BundleBasedDirectRunner"])
def test_transform_names_the_line_of_the_function_that_made_the_graph(runner, table, tmp_path):
    good = parity.write_table(tmp_path / "good", table[0].set_column(1, "s", pa.array(["1", "2", "3", "4"])))
    analyze(Dataset.open(good, table[1]), _to_number, str(tmp_path / "graph"))
    line = inspect.getsourcelines(_to_number)[1] + 1
    with pytest.raises(ConfigError, match=rf"^test_user_errors\.py:{line}: preprocessing_fn failed .* string: a$"):
        transform(Dataset.open(table[2], table[1]), str(tmp_path / "graph"), str(tmp_path / "out"), runner=runner)


def test_transform_refuses_another_number_of_rows(table, tmp_path):
    some = lambda inputs: {"x": tf.boolean_mask(inputs["x"], inputs["x"] < 100)}  # all of the first records
    analyze(Dataset.open(table[2], table[1]), some, str(tmp_path / "graph"))
    more = parity.write_table(tmp_path / "more", pa.table({"x": pa.array([1.0, 200.0], pa.float32()), "s": ["a", "b"]}))
    with pytest.raises(
        ConfigError, match=r"test_user_errors\.py:\d+: preprocessing_fn returned output 'x' with 0 rows for 1 records"
    ):
        transform(Dataset.open(more, table[1]), str(tmp_path / "graph"), str(tmp_path / "out"))


def test_custom_config_goes_to_a_function_that_takes_it(table, tmp_path):
    def scaled(inputs, custom_config):
        return {"y": inputs["x"] * custom_config.get("k", 1.0)}

    ds = Dataset.open(table[2], table[1])
    for config, expected in ((None, 1.0), ({"k": 3.0}, 3.0)):
        graph = analyze(ds, scaled, str(tmp_path / "graph"), custom_config=config).path
        assert parity.outputs(graph, table[0], table[1])["y"][0] == expected
    with pytest.raises(ConfigError, match=r"custom_config is given, but <lambda> takes \(inputs\)"):
        analyze(ds, lambda inputs: inputs, str(tmp_path / "other"), custom_config={"k": 1})
    with pytest.raises(ConfigError, match=r"takes \(inputs, more\)"):
        analyze(ds, lambda inputs, more: inputs, str(tmp_path / "other"))


def test_vocabularies_of_other_tokens_do_not_share_a_file(table, tmp_path):
    """TFT writes one over the other without a word, and what is looked up in it is out of vocabulary."""
    ds = Dataset.open(table[2], table[1])

    def named(inputs, top_k):
        lookups = {"a": inputs["s"], "b": inputs["s"]}
        return {
            name: tft.compute_and_apply_vocabulary(value, vocab_filename="words", top_k=top_k if name == "b" else None)
            for name, value in lookups.items()
        }

    with pytest.raises(ConfigError, match="two vocabularies of different tokens have the file name 'words'"):
        analyze(ds, lambda inputs: named(inputs, 1), str(tmp_path / "graph"))
    assert not (tmp_path / "graph").exists()
    assert parity.assets(analyze(ds, lambda inputs: named(inputs, 3), str(tmp_path / "graph")).path) == {
        "words": b"a\nb\n3\n"
    }


@pytest.mark.parametrize(("file_format", "name"), [("text", "words"), ("tfrecord_gzip", "words.tfrecord.gz")])
def test_vocabularies_are_written_to_a_remote_directory(tmp_path, file_format, name):
    """TensorFlow's file system in memory stands for a bucket: functions that know the local disk alone do not find it."""
    directory = f"ram://{tmp_path.name}-{file_format}"
    tf.io.gfile.makedirs(directory)
    operation = SimpleNamespace(
        fingerprint_shuffle=False,
        vocab_filename="words",
        file_format=file_format,
        store_frequency=False,
        input_dtype="string",
    )
    for tokens in ([b"a", b"b"], [b"a", b"b"], [b"a", b"c"]):
        runs = (Run(pa.array(tokens, pa.large_binary()), np.array([2, 1])),)
        with pytest.raises(ConfigError, match="two vocabularies") if b"c" in tokens else nullcontext():
            (path,) = order_and_write(
                operation, [PrunedVocabulary(runs, 2)], EvaluationContext(assets_dir=directory, graph=None)
            )
    assert str(path) == f"{directory}/{name}" and tf.io.gfile.listdir(directory) == [name]
    if file_format == "text":
        found = tf.io.gfile.GFile(str(path), "rb").read().split()
    else:
        found = list(tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator())
    assert found == [b"a", b"b"]


def test_a_key_with_a_blank_is_refused_where_a_file_would_lose_it(tmp_path):
    """In TFT's lookup its first word is the key, and it gets the numbers of no key."""
    rows = pa.table({"x": pa.array([1.0, 3.0, 9.0], pa.float32()), "city": ["New York", "New York", "Rome"]})
    spec = {"x": tf.io.FixedLenFeature([], tf.float32), "city": tf.io.FixedLenFeature([], tf.string)}
    ds = Dataset.open(parity.write_table(tmp_path / "rows", rows), spec)

    def scaled(inputs, file):
        return {"z": tft.scale_to_0_1_per_key(inputs["x"], inputs["city"], key_vocabulary_filename=file)}

    with pytest.raises(ConfigError, match=r"key b?'New York' has a blank or a line break"):
        analyze(ds, lambda inputs: scaled(inputs, "cities"), str(tmp_path / "graph"))
    graph = analyze(ds, lambda inputs: scaled(inputs, None), str(tmp_path / "graph")).path
    assert parity.outputs(graph, rows, spec)["z"].tolist()[:2] == [0.0, 1.0]


def test_buckets_by_key_of_no_records_say_so(table, tmp_path):
    """TFT fails here as well, in numpy."""
    empty = parity.write_table(
        tmp_path / "none", pa.table({"x": pa.array([], pa.float32()), "s": pa.array([], pa.string())})
    )
    by_key = lambda inputs: {"b": tft.bucketize_per_key(inputs["x"], inputs["s"], 3)}
    with pytest.raises(ConfigError, match="bucketize_per_key: the data set has no key"):
        analyze(Dataset.open(empty, table[1]), by_key, str(tmp_path / "graph"))
    assert not (tmp_path / "graph").exists()
