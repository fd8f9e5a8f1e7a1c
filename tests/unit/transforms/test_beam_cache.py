"""`AnalyzeDatasetWithCache` of transforms.beam: results of one pass over all data sets, while cached ones are not read."""

from __future__ import annotations

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import schema_utils
from tfx_bsl.tfxio import tf_example_record

import transforms.beam as fullpass_beam
from engine import DataError
from engine.schema.feature_spec import schema_from_feature_spec
from tests.support import parity
from transforms.beam.states import decode_state, encode_states
from transforms.fallback import to_tfxio

_SPEC = {"x": tf.io.FixedLenFeature([], tf.float32), "s": tf.io.FixedLenFeature([], tf.string)}
_CONFIG = tf_example_record.TFExampleBeamRecord(
    "inmem", ["test"], schema=schema_utils.schema_from_feature_spec(_SPEC)
).TensorAdapterConfig()
_KEYS = [tft_beam.analyzer_cache.DatasetKey(f"span-{number}") for number in range(3)]


def preprocessing_fn(inputs):
    return {
        "z": tft.scale_to_z_score(tf.math.log1p(inputs["x"])),
        "id": tft.compute_and_apply_vocabulary(inputs["s"], top_k=20, vocab_filename="s"),
        "bucket": tft.bucketize(inputs["x"], 4),
    }


def two_phase_fn(inputs):
    return {"unit": tft.scale_to_0_1(tf.math.exp(tft.scale_to_z_score(inputs["x"]))), "s": inputs["s"]}


def _batches(number):
    rng = np.random.default_rng(number)
    words = pa.array([b"w%d" % each for each in rng.zipf(1.4, 500) % 60], pa.binary())
    schema = schema_from_feature_spec(_SPEC)
    table = pa.table({"x": rng.gamma(2, 3, 500).astype(np.float32), "s": words}).select(schema.names)
    batches = table.cast(schema).to_batches(max_chunksize=200)
    return [to_tfxio(batch, _CONFIG.arrow_schema) for batch in batches]


def analyze(directory, function, read, keys, module=fullpass_beam, cache_dir=None, out="graph"):
    """Returns the keys of what was written to the cache; data sets whose number is not in `read` are None."""
    cache_dir = str(cache_dir or directory / "cache")
    with beam.Pipeline(runner="BundleBasedDirectRunner") as pipeline, module.Context(temp_dir=str(directory / "temp")):
        data = {
            key: pipeline
            | f"Read{number}" >> beam.Create(_batches(number), reshuffle=False).with_output_types(pa.RecordBatch)
            if number in read
            else None
            for number, key in enumerate(keys)
        }
        cache = pipeline | module.analyzer_cache.ReadAnalysisCacheFromFS(cache_dir, keys)
        transform_fn, written = (data, cache, _CONFIG) | module.AnalyzeDatasetWithCache(function, pipeline=pipeline)
        _ = transform_fn | module.WriteTransformFn(str(directory / out))
        if written:
            _ = written | module.analyzer_cache.WriteAnalysisCacheToFS(pipeline, cache_dir, keys)
    return {key.key for key in written}


def _same(directory, one, other):
    table = pa.table({"x": pa.array([0.5, 4.0, 9.0], pa.float32()), "s": ["w1", "w2", "none"]})
    assert parity.assets(str(directory / one)) == parity.assets(str(directory / other))
    assert parity.metadata(str(directory / one)) == parity.metadata(str(directory / other))
    expected, found = (parity.outputs(str(directory / each), table, _SPEC) for each in (other, one))
    parity.assert_same_outputs(expected, found, exact=set(expected))


def test_cached_data_sets_are_not_read_and_the_result_is_that_of_one_pass(tmp_path):
    assert analyze(tmp_path, preprocessing_fn, {0, 1}, _KEYS[:2], out="first") == {"span-0", "span-1"}
    assert analyze(tmp_path, preprocessing_fn, {2}, _KEYS, out="grown") == {"span-2"}
    assert analyze(tmp_path, preprocessing_fn, set(), _KEYS, out="known") == set()
    analyze(tmp_path, preprocessing_fn, {0, 1, 2}, _KEYS, cache_dir=tmp_path / "none", out="whole")
    _same(tmp_path, "grown", "whole")
    _same(tmp_path, "known", "whole")
    analyze(tmp_path, preprocessing_fn, {0, 1, 2}, _KEYS, tft_beam, tmp_path / "tft", out="tft")
    assert parity.assets(str(tmp_path / "whole")) == parity.assets(str(tmp_path / "tft"))


def test_another_function_and_a_data_set_without_cache_are_read(tmp_path):
    analyze(tmp_path, preprocessing_fn, {0}, _KEYS[:1])
    more = lambda inputs: {**preprocessing_fn(inputs), "mean": inputs["x"] - tft.mean(inputs["x"])}
    with pytest.raises(ValueError, match=r"span-0.* must be read: the cache does not hold its states"):
        analyze(tmp_path, more, set(), _KEYS[:1])
    assert analyze(tmp_path, more, {0}, _KEYS[:1]) == {"span-0"}
    uncached = [_KEYS[0].non_cacheable()]
    assert analyze(tmp_path, preprocessing_fn, {0}, uncached) == set()
    with pytest.raises(ValueError, match="must be read"):
        analyze(tmp_path, preprocessing_fn, set(), uncached)


def test_later_phases_read_everything(tmp_path):
    assert analyze(tmp_path, two_phase_fn, {0, 1}, _KEYS[:2], out="first") == {"span-0", "span-1"}
    assert analyze(tmp_path, two_phase_fn, {0, 1}, _KEYS[:2], out="again") == set()
    _same(tmp_path, "again", "first")
    with pytest.raises(ValueError, match=r"span-1.* must be read: analyzers of later phases"):
        analyze(tmp_path, two_phase_fn, {0}, _KEYS[:2])


def test_elements_of_the_cache_are_checked():
    (element,) = encode_states([(3, 1, b"blob")])
    assert decode_state(element)[1] == [(3, 1, b"blob")]
    with pytest.raises(DataError, match="checksum"):
        decode_state(element[:-1] + b"x")
    with pytest.raises(DataError, match="begins with"):
        decode_state(b"something else")
