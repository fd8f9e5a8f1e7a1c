"""Numbers at the edges: NaN by key, timestamps, squares and variances beyond their type. The oracle is exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from engine import Dataset
from tests.support import parity
from transforms import analyze
from transforms.accumulators.numeric.exact import SCALE_BITS, exact_sum, exact_sum_of_squares
from transforms.accumulators.numeric.moments import MomentsAccumulator

NAN = float("nan")


def _constant(inputs, value):
    value = tf.convert_to_tensor(value)
    return (
        tf.fill(tf.shape(inputs["x"]), value)
        if value.shape.rank == 0
        else tf.ensure_shape(value + 0 * inputs["x"][:, None], [None, 1])
    )


@pytest.fixture(scope="module")
def nan_outputs(tmp_path_factory):
    """Outputs of one graph by number of records a batch."""
    directory = tmp_path_factory.mktemp("nan")
    table = pa.table(
        {
            "x": pa.array([0.0, 10.0, NAN, 4.0, 6.0, NAN, 5.0], pa.float32()),
            "key": pa.array([b"a", b"a", b"a", b"a", b"a", b"only", b"b"], pa.binary()),
        }
    )
    spec = {"x": tf.io.FixedLenFeature([], tf.float32), "key": tf.io.FixedLenFeature([], tf.string)}
    data = parity.write_table(directory / "data", table, files=1)

    def preprocessing_fn(inputs):
        column = tf.sparse.from_dense(tf.expand_dims(inputs["x"], 1))
        return {
            "unit": tft.scale_to_0_1_per_key(inputs["x"], inputs["key"]),
            "max": _constant(inputs, tft.max(column, reduce_instance_dims=False)),
            "min": _constant(inputs, tft.min(column, reduce_instance_dims=False)),
        }

    graphs = {rows: str(directory / f"graph-{rows}") for rows in (1, 3, 100)}
    for rows, graph in graphs.items():
        analyze(Dataset.open(data, spec), preprocessing_fn, graph, batch_rows=rows)
    return {rows: parity.outputs(graph, table, spec) for rows, graph in graphs.items()}


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_nan_is_left_out_of_minima_and_maxima_by_key_for_any_batches(nan_outputs, rows):
    unit = nan_outputs[rows]["unit"]
    np.testing.assert_allclose(unit[[0, 1, 3, 4]], [0.0, 1.0, 0.4, 0.6], rtol=1e-6)
    assert np.isnan(unit[[2, 5]]).all()


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_nan_is_left_out_of_minima_and_maxima_of_sparse_elements_for_any_batches(nan_outputs, rows):
    finite = [0, 1, 3, 4, 6]
    assert nan_outputs[rows]["max"][finite].reshape(-1).tolist() == [10.0] * 5
    assert nan_outputs[rows]["min"][finite].reshape(-1).tolist() == [4.0] * 5  # a 0 is no element


def test_moments_of_timestamps_are_nearer_to_the_exact_value_than_tfts(tmp_path):
    seconds = np.sort(np.random.default_rng(2).integers(1_357_000_000, 1_388_000_000, 3000))
    table, spec = pa.table({"x": seconds}), {"x": tf.io.FixedLenFeature([], tf.int64)}

    def preprocessing_fn(inputs):
        x = tf.cast(inputs["x"], tf.float32)
        return {"mean": tf.fill(tf.shape(x), tft.mean(x)), "var": tf.fill(tf.shape(x), tft.var(x))}

    data = parity.write_table(tmp_path / "data", table)
    ours = analyze(Dataset.open(data, spec), preprocessing_fn, str(tmp_path / "ours")).path
    theirs = parity.tft_analyze(table, spec, preprocessing_fn, str(tmp_path / "tft"))
    found, other = (parity.outputs(graph, table.slice(0, 1), spec) for graph in (ours, theirs))
    values = [Fraction(float(value)) for value in seconds.astype(np.float32)]
    mean = sum(values) / len(values)
    exact = {"mean": mean, "var": sum((value - mean) ** 2 for value in values) / len(values)}
    errors = {
        name: [abs(Fraction(float(each[name][0])) - value) for each in (found, other)] for name, value in exact.items()
    }
    assert all(found[name][0] == np.float32(float(value)) for name, value in exact.items())
    assert all(ours <= theirs for ours, theirs in errors.values()) and errors["var"][0] < errors["var"][1]


@pytest.mark.parametrize("value", [1e140, 1e151, 1e155, 1e200, 1e300, 1.7e308])
def test_sums_of_large_float64_values_are_exact(value):
    values = np.array([value, -value / 3, 1.0, 1e-300])
    assert exact_sum(values) == sum(map(Fraction, values)) * 2**SCALE_BITS
    exact = sum(Fraction(each) ** 2 for each in values[:3]) * 2**SCALE_BITS
    assert abs(exact_sum_of_squares(values) - exact) <= 2 ** (SCALE_BITS - 1000)


@pytest.mark.parametrize(
    ("values", "mean", "variance"),
    [
        (np.array([1e38, 3e38, -1e38], np.float32), 1e38, NAN),
        (np.array([3e38, 3e38], np.float32), 3e38, 0.0),
        (np.array([1e200, -1e200]), 0.0, NAN),
        (np.array([1e160, 1e160]), 1e160, 0.0),
        (np.array([1e153, -1e153]), 0.0, 1e306),
    ],
)
def test_a_variance_that_its_type_cannot_hold_is_nan_and_the_mean_is_exact(values, mean, variance):
    accumulator = MomentsAccumulator(values.dtype.name)
    found = accumulator.finish([accumulator.update(accumulator.create(), [values])])
    np.testing.assert_allclose(found, [mean, variance], rtol=1e-6)


@pytest.mark.parametrize("batch_rows", [7, 1000])
def test_a_weighted_vocabulary_is_ordered_by_exact_sums(tmp_path, batch_rows):
    rng = np.random.default_rng(5)
    # Many sums that float32 cannot tell apart, tiny weights beside large ones, and exact ties.
    weights = rng.choice(np.array([0.1, 0.2, 0.3, 0.6, 0.9, 1.2, 1e-9, 16777216.0], np.float32), 600)
    words = np.array([b"w%d" % each for each in rng.integers(0, 60, 600)], object)
    table = pa.table({"word": pa.array(words.tolist(), pa.binary()), "weight": weights})
    spec = {"word": tf.io.FixedLenFeature([], tf.string), "weight": tf.io.FixedLenFeature([], tf.float32)}

    def preprocessing_fn(inputs):
        tft.vocabulary(inputs["word"], weights=inputs["weight"], vocab_filename="v", store_frequency=True)
        return {"weight": inputs["weight"]}

    data = parity.write_table(tmp_path / "data", table, files=3)
    graph = analyze(Dataset.open(data, spec), preprocessing_fn, str(tmp_path / "graph"), batch_rows=batch_rows).path
    sums: dict[bytes, Fraction] = {}
    for word, weight in zip(words.tolist(), weights.tolist()):
        sums[word] = sums.get(word, Fraction(0)) + Fraction(weight)
    expected = sorted(((float(total), word) for word, total in sums.items()), reverse=True)
    assert parity.assets(graph)["v"].decode().splitlines() == [f"{total} {word.decode()}" for total, word in expected]


def test_the_least_integer_is_not_lost_as_a_minimum(tmp_path):
    """Such a one is what pandas keeps a missing time as. TFT's minimum is that of -x, which wraps."""
    least = -(2**63)
    table = pa.table({"x": pa.array([5, least, -7, 9]), "key": pa.array([b"a", b"a", b"b", b"b"], pa.binary())})
    spec = {"x": tf.io.FixedLenFeature([], tf.int64), "key": tf.io.FixedLenFeature([], tf.string)}

    def preprocessing_fn(inputs):
        found = {"min": tft.min(inputs["x"]), "max": tft.max(inputs["x"])}
        return {name: tf.fill(tf.shape(inputs["x"]), value) for name, value in found.items()}

    ds = Dataset.open(parity.write_table(tmp_path / "data", table), spec)
    found = parity.outputs(analyze(ds, preprocessing_fn, str(tmp_path / "graph")).path, table, spec)
    assert found["max"][0] == 9
    assert found["min"][0] == least + 1  # what its negative one leaves of it


@pytest.mark.parametrize("sparse", [False, True])
def test_a_column_of_the_least_integer_alone_has_it_as_its_maximum(tmp_path, sparse):
    least = -(2**63)
    table, spec = pa.table({"x": [least] * 3}), {"x": tf.io.FixedLenFeature([], tf.int64)}

    def preprocessing_fn(inputs):
        x = inputs["x"]
        column = tf.sparse.from_dense(tf.expand_dims(x, 1)) if sparse else x
        found = {"min": tft.min(column), "max": tft.max(column)}
        by_key = tft.scale_by_min_max_per_key  # traces the reduction by key, too
        return {
            **{name: tf.fill(tf.shape(x), value) for name, value in found.items()},
            "by_key": by_key(x, tf.strings.as_string(x)),
        }

    ds = Dataset.open(parity.write_table(tmp_path / "data", table), spec)
    found = parity.outputs(analyze(ds, preprocessing_fn, str(tmp_path / "graph")).path, table, spec)
    assert found["max"][0] == least and found["min"][0] == least + 1


def test_sums_of_narrow_types_are_those_of_the_values_for_any_batches(tmp_path):
    """TFT adds a batch in the values' own type: 200 + 100 of uint8 is 44 there."""
    values = np.random.default_rng(3).integers(1, 120, 300)
    table, spec = pa.table({"x": values}), {"x": tf.io.FixedLenFeature([], tf.int64)}
    data = parity.write_table(tmp_path / "data", table, files=1)
    types = ("int8", "int16", "int32", "uint8", "uint16", "float16")

    def preprocessing_fn(inputs):
        scaled = {each: inputs["x"] * (1 << 24 if each == "int32" else 1) for each in types}
        outputs = {}
        for each, x in scaled.items():
            narrow = tf.cast(x, each)
            rows = tf.stack([narrow, narrow], axis=1)
            kind = tf.float32 if each == "float16" else tf.int64
            outputs[each] = tf.fill(tf.shape(x), tf.cast(tft.sum(narrow), kind))
            by_element = tf.cast(tft.sum(rows, reduce_instance_dims=False), kind)
            outputs[f"{each} by element"] = by_element + tf.cast(0 * rows, kind)
            outputs[f"{each} mean"] = tf.fill(tf.shape(x), tf.cast(tft.mean(narrow), tf.float32))
        return outputs

    for rows in (1, 7, 300):
        graph = str(tmp_path / f"graph-{rows}")
        analyze(Dataset.open(data, spec), preprocessing_fn, graph, batch_rows=rows)
        found = parity.outputs(graph, table, spec)
        for each in types:
            scale = 1 << 24 if each == "int32" else 1
            total = int(values.sum()) * scale
            assert found[each][0] == total, (rows, each)
            assert found[f"{each} by element"][0].tolist() == [total, total], (rows, each)
            np.testing.assert_allclose(found[f"{each} mean"][0], total / 300, rtol=1e-3)


def test_means_of_more_values_than_float16_counts_are_exact(tmp_path):
    """TFT sums and counts a batch in float16, which holds no more than 65,504."""
    rng = np.random.default_rng(8)
    values = rng.normal(3.0, 1.5, 70_000).astype(np.float32)
    table = pa.table({"x": values, "key": pa.array([b"a", b"b"] * 35_000, pa.binary())})
    spec = {"x": tf.io.FixedLenFeature([], tf.float32), "key": tf.io.FixedLenFeature([], tf.string)}

    def preprocessing_fn(inputs):
        x = tf.cast(inputs["x"], tf.float16)
        outputs = {"mean": tf.fill(tf.shape(x), tft.mean(x)), "var": tf.fill(tf.shape(x), tft.var(x))}
        outputs["by_key"] = tft.scale_to_z_score_per_key(x, inputs["key"])
        return {name: tf.cast(value, tf.float32) for name, value in outputs.items()}

    ds = Dataset.open(parity.write_table(tmp_path / "data", table, files=1), spec)
    graph = analyze(ds, preprocessing_fn, str(tmp_path / "graph"), batch_rows=100_000).path
    found = parity.outputs(graph, table.slice(0, 2), spec)
    halves = values.astype(np.float16)
    exact = halves.astype(np.float64)  # sums of 70,000 float16 values have few enough bits for float64
    assert found["mean"][0] == np.float16(exact.mean()) and found["var"][0] == np.float16(exact.var())
    for row in (0, 1):
        mine = exact[row::2]
        np.testing.assert_allclose(found["by_key"][row], (exact[row] - mine.mean()) / mine.std(), atol=4e-3)


def test_extremes_of_bfloat16_are_found(tmp_path):
    """TFT cannot take them out of its graph at all."""
    table = pa.table({"x": pa.array([1.5, -3.0, 0.25, 8.0], pa.float32())})
    spec = {"x": tf.io.FixedLenFeature([], tf.float32)}

    def preprocessing_fn(inputs):
        narrow = tf.cast(inputs["x"], tf.bfloat16)
        return {
            "least": _constant(inputs, tf.cast(tft.min(narrow), tf.float32)),
            "most": _constant(inputs, tf.cast(tft.max(narrow), tf.float32)),
            "vector": _constant(inputs, tf.cast(tft.max(narrow[:, None], reduce_instance_dims=False), tf.float32)),
        }

    data = parity.write_table(tmp_path / "data", table, files=2)
    analyze(Dataset.open(data, spec), preprocessing_fn, str(tmp_path / "graph"))
    found = parity.outputs(str(tmp_path / "graph"), table, spec)
    assert {name: set(values.ravel().tolist()) for name, values in found.items()} == {
        "least": {-3.0},
        "most": {8.0},
        "vector": {8.0},
    }
