"""Batches of `transforms.beam`: joined as far as the user allows, cut to what the graph takes."""

from __future__ import annotations

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.tf_metadata import schema_utils
from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig
from tfx_bsl.tfxio.tensor_representation_util import InferTensorRepresentationsFromSchema

from engine import Dataset
from transforms import analyze
from transforms import beam as fullpass_beam
from transforms.beam.transform_dataset import CutBatches, JoinBatches

SPEC = {"x": tf.io.FixedLenFeature([], tf.float32)}
BATCH = pa.RecordBatch.from_pydict({"x": pa.array([[float(each)] for each in range(500)], pa.list_(pa.float32()))})
CONFIG = TensorAdapterConfig(
    BATCH.schema, InferTensorRepresentationsFromSchema(schema_utils.schema_from_feature_spec(SPEC))
)


def _blow_up(inputs):
    wide = tf.tile(tf.expand_dims(inputs["x"], 1), [1, 1 << 17])  # 512 KiB a record
    return {"x": tf.reduce_mean(tf.sqrt(tf.abs(wide)), axis=1) + tft.mean(inputs["x"])}


def test_batches_are_cut_by_what_they_take_in_the_graph(tmp_path):
    pq.write_table(pa.table({"x": np.arange(20, dtype=np.float32)}), tmp_path / "rows.parquet")
    analyze(Dataset.open(str(tmp_path / "rows.parquet"), SPEC), _blow_up, str(tmp_path / "graph"))
    cut = CutBatches(CONFIG, memory_bytes=256 << 20)
    pieces = list(cut.process(BATCH, str(tmp_path / "graph" / "transform_fn")))
    assert max(piece.num_rows for piece in pieces) <= 128
    assert pa.Table.from_batches(pieces).equals(pa.Table.from_batches([BATCH]))


def test_the_users_batch_size_is_honoured(tmp_path):
    sizes = tmp_path / "sizes"  # Beam runs a copy of the function

    def note(x):
        with open(sizes, "a") as file:
            print(len(x), file=file)
        return x

    def fn(inputs):
        x = tf.ensure_shape(tf.numpy_function(note, [inputs["x"]], tf.float32), [None])
        return {"x": x, "mean": x - tft.mean(inputs["x"])}

    with beam.Pipeline(runner="DirectRunner") as pipeline:
        with fullpass_beam.Context(temp_dir=str(tmp_path), desired_batch_size=100):
            data = pipeline | beam.Create([BATCH], reshuffle=False)
            _ = (data, CONFIG) | fullpass_beam.AnalyzeAndTransformDataset(fn)
    found = [int(line) for line in sizes.read_text().split()]
    assert sum(found) >= BATCH.num_rows and max(found) <= 100


def test_joined_batches_have_no_more_than_the_users_rows():
    join = JoinBatches(120, cut=True)
    join.start_bundle()
    window = beam.transforms.window.GlobalWindow()
    found = [b for start in range(0, 500, 50) for b in join.process(BATCH.slice(start, 50), window)]
    found += [each.value for each in join.finish_bundle()]
    assert [each.num_rows for each in found] == [100] * 5
