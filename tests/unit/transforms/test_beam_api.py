"""`transforms.beam` in the place of `tensorflow_transform.beam`: record batches and instance dicts, and what TFT must do."""

from __future__ import annotations

import inspect
import logging
import re

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.experimental import ptransform_analyzer

import transforms.beam as fullpass_beam
from engine import Dataset
from tests.support import parity
from tests.unit.transforms.test_parity import string_table
from transforms import analyze, transform


def preprocessing_fn(inputs):
    return {
        "z": tft.scale_to_z_score(inputs["x"]),
        "word": tft.compute_and_apply_vocabulary(inputs["word"], vocab_filename="word"),
        "tags": tft.compute_and_apply_vocabulary(inputs["tags"], top_k=10, vocab_filename="tags"),
    }


def test_analyze_dataset_of_record_batches_gives_what_analyze_gives(tmp_path):
    table, spec = string_table()
    table = table.slice(0, 500)
    through_beam = parity.tft_analyze(table, spec, preprocessing_fn, str(tmp_path / "beam"), fullpass_beam)
    ds = Dataset.open(parity.write_table(tmp_path / "data", table), spec)
    report = analyze(ds, preprocessing_fn, str(tmp_path / "ours"))
    assert parity.assets(through_beam) == parity.assets(report.path)
    assert parity.metadata(through_beam) == parity.metadata(report.path)
    expected, found = (parity.outputs(graph, table, spec) for graph in (report.path, through_beam))
    parity.assert_same_outputs(expected, found, exact={"z"})


def test_analyze_and_transform_dataset_of_instance_dicts_transforms_them(tmp_path):
    metadata = tft.DatasetMetadata.from_feature_spec({"x": tf.io.FixedLenFeature([], tf.float32)})
    with fullpass_beam.Context(temp_dir=str(tmp_path)):
        (data, _), _ = ([{"x": 1.0}, {"x": 2.0}, {"x": 3.0}], metadata) | fullpass_beam.AnalyzeAndTransformDataset(
            lambda inputs: {"unit": tft.scale_to_0_1(inputs["x"])}
        )
    assert [row["unit"] for row in data] == [0.0, 0.5, 1.0]


def test_vocabularies_of_other_tokens_do_not_share_a_file_across_phases(tmp_path):
    metadata = tft.DatasetMetadata.from_feature_spec({"s": tf.io.FixedLenFeature([], tf.string)})

    def named_alike(inputs):
        first = tft.compute_and_apply_vocabulary(inputs["s"], vocab_filename="words")
        again = tft.compute_and_apply_vocabulary(tf.strings.as_string(first), vocab_filename="words")
        return {"first": first, "again": again}

    with (
        pytest.raises(Exception, match="two vocabularies of different tokens have the file name 'words'"),
        fullpass_beam.Context(temp_dir=str(tmp_path)),
    ):
        _ = ([{"s": b"a"}, {"s": b"b"}], metadata) | fullpass_beam.AnalyzeDataset(named_alike)


def test_one_transform_function_transforms_several_data_sets(tmp_path):
    metadata = tft.DatasetMetadata.from_feature_spec({"x": tf.io.FixedLenFeature([], tf.float32)})
    with beam.Pipeline(runner="BundleBasedDirectRunner") as pipeline, fullpass_beam.Context(temp_dir=str(tmp_path)):
        data = pipeline | beam.Create([{"x": 1.0}, {"x": 3.0}])
        transform_fn = (data, metadata) | fullpass_beam.AnalyzeDataset(
            lambda inputs: {"x": tft.scale_to_0_1(inputs["x"])}
        )
        for name in ("first", "second"):
            out, _ = ((data, metadata), transform_fn) | name >> fullpass_beam.TransformDataset()
            _ = (
                out
                | f"Write {name}" >> beam.Map(lambda row: row["x"])
                | f"Text {name}" >> beam.io.WriteToText(str(tmp_path / name), shard_name_template="")
            )
    assert sorted((tmp_path / "second").read_text().split()) == ["0.0", "1.0"]


def _numbers(inputs):
    return {"n": tf.strings.to_number(inputs["s"]), "more": inputs["s"]}


def _some_rows(inputs):
    return {"n": tf.boolean_mask(inputs["s"], inputs["s"] != "a"), "all": inputs["s"]}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_numbers, r"transform: test_beam_api\.py:{line}: preprocessing_fn failed in TensorFlow at operation .*: a$"),
        (
            _some_rows,
            r"transform: test_beam_api\.py:{line}: preprocessing_fn returned output 'n' with \d+ rows for \d+ records",
        ),
    ],
)
def test_transform_dataset_names_the_line_that_fails_in_one_line(function, message, tmp_path):
    metadata = tft.DatasetMetadata.from_feature_spec({"s": tf.io.FixedLenFeature([], tf.string)})
    good, bad = [{"s": b"1"}] * 3, [{"s": b"2"}] * 99 + [{"s": b"a"}]
    with pytest.raises(Exception) as caught, fullpass_beam.Context(temp_dir=str(tmp_path)):
        transform_fn = (good, metadata) | fullpass_beam.AnalyzeDataset(function)
        _ = ((bad, metadata), transform_fn) | fullpass_beam.TransformDataset()
    text = re.sub(r" \[while running .*", "", str(caught.value), flags=re.S)
    assert re.search(message.format(line=inspect.getsourcelines(function)[1] + 1), text), text
    assert "\n" not in text


def test_transform_dataset_takes_other_numbers_of_rows_as_tft_does(tmp_path):
    metadata = tft.DatasetMetadata.from_feature_spec({"s": tf.io.FixedLenFeature([], tf.string)})
    twice = lambda inputs: {
        "n": tf.repeat(inputs["s"], 2),
        "number": tf.repeat(tf.cast(tf.strings.length(inputs["s"]), tf.int64), 2),
    }
    with fullpass_beam.Context(temp_dir=str(tmp_path)):
        (rows, _), _ = ([{"s": b"a"}, {"s": b"bc"}], metadata) | fullpass_beam.AnalyzeAndTransformDataset(twice)
    assert [(row["n"], row["number"]) for row in rows] == [(b"a", 1), (b"a", 1), (b"bc", 2), (b"bc", 2)]


class _Count(beam.PTransform):
    """A user's own analyzer, which no accumulator stands for."""

    def expand(self, pcoll):
        return pcoll | beam.Map(lambda arrays: len(arrays[0])) | beam.CombineGlobally(sum) | beam.Map(np.int64)


def own_analyzer_fn(inputs):
    (count,) = ptransform_analyzer([inputs["x"]], _Count(), [tf.int64], [[]])
    return {"x": inputs["x"], "count": tf.fill(tf.shape(inputs["x"]), count)}


def test_analyze_with_a_users_own_analyzer_takes_tfts_way_and_says_so(tmp_path, caplog):
    table, spec = string_table()
    table = table.slice(0, 300)
    ds = Dataset.open(parity.write_table(tmp_path / "data", table), spec)
    with caplog.at_level(logging.WARNING):
        report = analyze(ds, own_analyzer_fn, str(tmp_path / "graph"))
    assert "_Count" in report.fallback
    assert any("TensorFlow Transform's own analysis runs" in record.message for record in caplog.records)
    assert parity.outputs(report.path, table, spec)["count"].tolist() == [300] * 300


@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
def test_transform_to_shards_keeps_order_count_and_values(tmp_path, format):
    table, spec = string_table()
    ds = Dataset.open(parity.write_table(tmp_path / "data", table), spec)
    graph = analyze(ds, preprocessing_fn, str(tmp_path / "graph")).path
    report = transform(ds, graph, str(tmp_path / "out"), format=format, num_shards=4)
    assert (report.records, report.written, report.shards) == (len(table), len(table), 4)
    expected = parity.outputs(graph, table, spec)
    alone = Dataset.open(str(tmp_path / "out"))  # by the manifest that was written with them
    assert [entry.records for entry in alone.manifest.files] == [len(table) // 4] * 4
    assert alone.verify().ok and alone.verify().against_manifest
    assert alone.manifest.schema.names == next(alone.read_batches()).schema.names
    written = Dataset.open(str(tmp_path / "out"), tft.TFTransformOutput(graph).transformed_feature_spec())
    assert written.num_records == len(table)
    batches = list(written.read_batches())
    z = np.concatenate([batch.column("z").to_numpy() for batch in batches])
    np.testing.assert_array_equal(z, expected["z"])
    word = np.concatenate([batch.column("word").to_numpy() for batch in batches])
    np.testing.assert_array_equal(word, expected["word"])
    tags = np.concatenate([batch.column("tags").flatten().to_numpy() for batch in batches])
    np.testing.assert_array_equal(tags, expected["tags"][1])
