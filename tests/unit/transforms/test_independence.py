"""Results do not depend on workers, batch size, split size or runner: bit for bit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from engine import Dataset
from tests.support import parity
from transforms import analyze

ROWS = 5000
SPEC = {
    "x": tf.io.FixedLenFeature([], tf.float32),
    "wide": tf.io.FixedLenFeature([], tf.float32),
    "word": tf.io.FixedLenFeature([], tf.string),
    "key": tf.io.FixedLenFeature([], tf.string),
}


def preprocessing_fn(inputs):
    x = inputs["x"]
    return {
        "z": tft.scale_to_z_score(x),
        "wide": tft.scale_to_z_score(inputs["wide"]),
        "sum": x + tft.sum(x),
        "bucket": tft.bucketize(x, 7),
        "bounds": tf.zeros_like(tf.expand_dims(x, 1)) + tft.quantiles(x, 7, epsilon=0.01),
        "unit": tft.scale_to_0_1(x),
        "word": tft.compute_and_apply_vocabulary(inputs["word"], top_k=40, vocab_filename="word"),
        "second": tft.scale_to_z_score(tf.minimum(x, tft.mean(x))),
        "key_unit": tft.scale_to_0_1_per_key(x, inputs["key"]),
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(3)
    table = pa.table(
        {
            "x": rng.normal(size=ROWS).astype(np.float32),
            "wide": (rng.normal(size=ROWS) * 10.0 ** rng.integers(-8, 8, ROWS)).astype(np.float32),
            "word": pa.array([b"w%d" % each for each in rng.zipf(1.3, ROWS) % 300], pa.binary()),
            "key": pa.array([b"k%d" % each for each in rng.integers(0, 5, ROWS)], pa.binary()),
        }
    )
    directory = tmp_path_factory.mktemp("data")
    return table, parity.write_table(directory, table, files=3, row_group=400)


@pytest.fixture(scope="module")
def reference(data, tmp_path_factory):
    table, path = data
    out = str(tmp_path_factory.mktemp("reference") / "graph")
    analyze(Dataset.open(path, SPEC), preprocessing_fn, out, runner_options=["--workers=1"], batch_rows=1 << 20)
    return parity.outputs(out, table, SPEC), parity.assets(out)


@pytest.mark.parametrize(
    ("runner", "options", "batch_rows", "split_bytes"),
    [
        ("local", ["--workers=3"], 1 << 20, 1 << 30),
        ("local", ["--workers=2"], 97, 1),
        ("local", ["--workers=1"], 1024, 20_000),
        ("local", ["--workers=2", "--processes=always"], 300, 10_000),
        ("beam", ["--runner=BundleBasedDirectRunner"], 640, 10_000),
    ],
)
def test_results_whatever_the_execution_are_the_same_bits(
    data, reference, tmp_path, runner, options, batch_rows, split_bytes
):
    table, path = data
    out = str(tmp_path / "graph")
    analyze(
        Dataset.open(path, SPEC),
        preprocessing_fn,
        out,
        runner=runner,
        runner_options=options,
        batch_rows=batch_rows,
        target_split_bytes=split_bytes,
    )
    expected, expected_assets = reference
    found = parity.outputs(out, table, SPEC)
    assert parity.assets(out) == expected_assets
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
