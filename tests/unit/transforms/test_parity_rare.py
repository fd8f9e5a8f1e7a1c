"""Analyzers that few functions use, and control flow and file tables around others: what TFT gives, on the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.experimental import ptransform_analyzer

from engine import Dataset
from tests.support import parity
from transforms import analyze

ROWS = 400
_FIXED, _LIST = tf.io.FixedLenFeature, tf.io.VarLenFeature
SPEC = {
    "x": _FIXED([], tf.float32),
    "w": _FIXED([], tf.float32),
    "i": _FIXED([], tf.int64),
    "v": _FIXED([3], tf.float32),
    "k": _FIXED([], tf.string),
    "n": _FIXED([], tf.int64),
    "t": _LIST(tf.string),
}


def _table() -> pa.Table:
    rng = np.random.default_rng(3)
    return pa.table(
        {
            "x": rng.lognormal(1, 2, ROWS).astype(np.float32),
            "w": rng.random(ROWS).astype(np.float32),
            "i": rng.integers(-50, 50, ROWS),
            "v": pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=ROWS * 3).astype(np.float32)), 3),
            "k": pa.array([b"k%d" % each for each in rng.integers(0, 5, ROWS)], pa.binary()),
            "n": rng.integers(-3, 3, ROWS),
            "t": pa.array([[b"t%d" % each for each in rng.integers(0, 9, rng.integers(0, 4))] for _ in range(ROWS)]),
        }
    )


def _each(inputs: Any, value: Any) -> Any:
    """A result of the whole data in each row, its size unknown: sparse, or of strings one text."""
    flat = tf.reshape(tf.convert_to_tensor(value), [-1])
    rows = tf.tile(flat[None], [tf.shape(inputs["x"])[0], 1])
    return (
        tf.strings.reduce_join(rows, axis=1, separator=",") if flat.dtype == tf.string else tf.sparse.from_dense(rows)
    )


def _histograms(inputs: Any) -> Any:
    made = {
        "a": tft.histogram(inputs["x"], boundaries=6),
        "b": tft.histogram(inputs["k"], categorical=True),
        "c": tft.histogram(inputs["i"], boundaries=[-10.0, 0.0, 10.0]),
        "d": tft.histogram(inputs["n"], categorical=True),
        "e": tft.count_per_key(inputs["k"]),
        "f": tft.count_per_key(inputs["n"]),
        "g": tft.count_per_key(inputs["t"].values),
    }
    return {f"{name}{at}": _each(inputs, part) for name, parts in made.items() for at, part in enumerate(parts)}


def _densities(inputs: Any) -> Any:
    density = tft.estimated_probability_density
    return {
        "a": density(inputs["x"], boundaries=5),
        "b": density(inputs["k"], categorical=True),
        "c": density(inputs["i"], boundaries=[-20.0, 0.0, 20.0]),
        "d": density(inputs["n"], categorical=True),
    }


def _matrices(inputs: Any) -> Any:
    wide = tf.cast(inputs["v"], tf.float64)
    return {
        "pca": tf.abs(tf.matmul(inputs["v"], tft.pca(inputs["v"], 2, tf.float32))),
        "covariance": _each(inputs, tft.covariance(inputs["v"], tf.float32)),
        "covariance of float64": _each(inputs, tf.cast(tft.covariance(wide, tf.float64), tf.float32)),
        "gaussian": tft.scale_to_gaussian(tf.math.log1p(inputs["x"])),
        "gaussian by element": tft.scale_to_gaussian(inputs["v"], elementwise=True),
        "quantiles by element": _each(inputs, tft.quantiles(inputs["v"], 4, 0.01, reduce_instance_dims=False)),
        "weighted by element": _each(
            inputs, tft.quantiles(inputs["v"], 4, 0.01, weights=inputs["w"], reduce_instance_dims=False)
        ),
    }


def _loops(inputs: Any) -> Any:
    x = inputs["x"]

    @tf.function
    def shifted(values: Any) -> Any:
        total = tf.constant(0.0)
        for step in tf.range(3):
            total += tf.cast(step, tf.float32)
        return values + total if tf.reduce_sum(values) > 0 else values - total

    doubled = tf.while_loop(lambda k, a: k < 3, lambda k, a: (k + 1, a * 2 + tf.cast(k, tf.float32)), [0, x])[1]
    chosen = tf.cond(tf.reduce_mean(x) > -1, lambda: x + 1, lambda: x - 1)
    return {
        "while": tft.scale_to_z_score(doubled),
        "cond": tft.scale_to_0_1(chosen),
        "map": tft.bucketize(tf.map_fn(lambda each: each * each, x), 3),
        "vectorized": tft.scale_to_0_1(tf.vectorized_map(lambda each: each * each, inputs["v"]), elementwise=True),
        "function": tft.scale_to_z_score(shifted(x)),
        "words": tft.compute_and_apply_vocabulary(tf.where(shifted(x) > 5, inputs["k"], b"none")),
    }


def _between_phases(inputs: Any) -> Any:
    """Control flow on what an earlier phase found."""
    x, mean, spread, most = inputs["x"], tft.mean(inputs["x"]), tft.var(inputs["x"]), tft.max(inputs["n"])
    scaled = tf.cond(mean > 0, lambda: x / mean, lambda: x * mean)
    summed = tf.while_loop(
        lambda k, a: k < 4, lambda k, a: (k + 1, a + scaled / (1 + spread)), [0, tf.zeros_like(scaled)]
    )[1]
    counted = tf.while_loop(
        lambda k, a: k < most, lambda k, a: (k + 1, a + k), [tf.constant(0, tf.int64), tf.zeros_like(inputs["n"])]
    )[1]
    bucket = tft.bucketize(summed, 4)
    switched = tf.cond(most > 1, lambda: x + tf.cast(most, tf.float32), lambda: x)
    return {
        "summed": summed,
        "bucket": bucket,
        "counted": tft.scale_to_0_1(counted + inputs["n"]),
        "switched": tft.scale_to_z_score(switched),
        "words": tft.compute_and_apply_vocabulary(tf.strings.as_string(bucket), vocab_filename="words"),
    }


class _Tables:
    """Lookup tables of files that the user has, before analyzers."""

    def __init__(self, directory: Path) -> None:
        self._pairs, self._lines = directory / "pairs.txt", directory / "lines.txt"
        self._pairs.write_text("".join(f"k{each} {each * each}\n" for each in range(4)))
        self._lines.write_text("".join(f"t{each}\n" for each in range(7)))

    def __call__(self, inputs: Any) -> Any:
        kinds = tf.lookup.TextFileIndex
        pairs = tf.lookup.TextFileInitializer(str(self._pairs), tf.string, 0, tf.int64, 1, delimiter=" ")
        lines = tf.lookup.TextFileInitializer(
            str(self._lines), tf.string, kinds.WHOLE_LINE, tf.int64, kinds.LINE_NUMBER
        )
        names = tf.lookup.KeyValueTensorInitializer(tf.constant([-3, -2, 0], tf.int64), tf.constant(["a", "b", "c"]))
        squares = tf.lookup.StaticHashTable(pairs, -5).lookup(inputs["k"])
        return {
            "squares": squares,
            "scaled": tft.scale_to_z_score(squares),
            "lines": tf.lookup.StaticVocabularyTable(lines, 3).lookup(inputs["t"]),
            "names": tft.compute_and_apply_vocabulary(
                tf.lookup.StaticHashTable(names, "none").lookup(inputs["n"]), vocab_filename="names"
            ),
        }


class _Total(beam.PTransform):
    def expand(self, batches: Any) -> Any:
        return batches | beam.Map(lambda batch: float(batch[0].sum())) | beam.CombineGlobally(sum)


def _users_own(inputs: Any) -> Any:
    (total,) = ptransform_analyzer([inputs["x"]], _Total(), [tf.float32], [[]])
    return {"part": inputs["x"] / total, "words": tft.compute_and_apply_vocabulary(inputs["k"], vocab_filename="words")}


_FUNCTIONS = {
    "histograms": _histograms,
    "densities": _densities,
    "matrices": _matrices,
    "loops": _loops,
    "between phases": _between_phases,
    "file tables": _Tables,
    "a user's own PTransform": _users_own,
}


@pytest.mark.parametrize("name", _FUNCTIONS)
def test_rare_analyzers_give_what_tft_gives(name: str, tmp_path: Path) -> None:
    function = _FUNCTIONS[name]
    if function is _Tables:
        function = _Tables(tmp_path)
    table = _table()
    expected = parity.tft_analyze(table, SPEC, function, str(tmp_path / "tft"))
    data = parity.write_table(tmp_path / "data", table)
    report = analyze(Dataset.open(data, SPEC), function, str(tmp_path / "ours"), batch_rows=150)
    assert (report.fallback is not None) == (function is _users_own)
    assert parity.assets(report.path) == parity.assets(expected)
    assert parity.metadata(report.path) == parity.metadata(expected)
    theirs, ours = parity.outputs(expected, table, SPEC), parity.outputs(report.path, table, SPEC)
    if name == "matrices":  # TFT adds up float32, whose rounding the eigenvectors of nearly equal directions enlarge
        np.testing.assert_allclose(ours.pop("pca"), theirs.pop("pca"), atol=1e-5)
    parity.assert_same_outputs(theirs, ours)
