"""Applying a transform graph to shards: ours beside TensorFlow Transform on Beam's DirectRunner, the same graph and rows.

The graph is read as it was written, and nothing is analyzed. `FULLPASS_BENCH_TFT_ROWS` sets the rows, of which TFT gets 20,000 at most.
"""

from __future__ import annotations

import os
import tempfile

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from benchmarks.cases.passes.test_analyze import ANALYZERS, ROUNDS, ROWS, feature_spec, preprocessing_fn
from benchmarks.data import criteo
from benchmarks.harness.stages import note_stages
from benchmarks.peers.registry import PEERS
from cluster.benchmarking.pairs import paired
from cluster.benchmarking.results import record_pair
from engine import Dataset
from transforms import analyze, transform

PEER_ROWS = min(ROWS, 20_000)


def by_tft(path, graph, out):
    """TFT's own way from TFRecord files and a transform graph to transformed TFRecord shards."""
    import apache_beam as beam
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import schema_utils
    from tfx_bsl.coders import example_coder
    from tfx_bsl.tfxio import tf_example_record

    schema = schema_utils.schema_from_feature_spec(feature_spec())
    source = tf_example_record.TFExampleRecord([path], telemetry_descriptors=["bench"], schema=schema)
    with (
        beam.Pipeline(runner="DirectRunner") as pipeline,
        tft_beam.Context(temp_dir=tempfile.mkdtemp(dir=out.parent)),
    ):
        transform_fn = pipeline | tft_beam.ReadTransformFn(str(graph))
        dataset = (pipeline | source.BeamSource(), source.TensorAdapterConfig())
        transformed, _ = (dataset, transform_fn) | tft_beam.TransformDataset(output_record_batches=True)
        # Not EncodeTransformedDataset: it asks for metadata that a graph which was read does not have.
        schema = tft.TFTransformOutput(str(graph)).transformed_metadata.schema
        encoder = example_coder.RecordBatchToExamplesEncoder(schema)
        encoded = transformed | beam.FlatMapTuple(lambda batch, _: encoder.encode(batch))
        _ = encoded | beam.io.WriteToTFRecord(str(out / "part"))


def sums(shards):
    """(records, sum of every column): whole numbers to the last one, floats to six digits."""
    table = pa.Table.from_batches(list(Dataset.open(str(shards)).read_batches()))
    return table.num_rows, {name: float(f"{pc.sum(table[name]).as_py():.6g}") for name in sorted(table.column_names)}


@pytest.mark.timeout(14400)  # nearly all of it TFT's
def test_transform_tfrecord(benchmark, tmp_path):
    path, same = criteo.file("tfrecord", num_rows=ROWS), criteo.file("tfrecord", num_rows=PEER_ROWS)
    graph = tmp_path / "graph"
    analyze(Dataset.open(path, feature_spec()), preprocessing_fn, str(graph))

    def ours(rows=path):
        transform(Dataset.open(rows, feature_spec()), str(graph), str(tmp_path / "ours"), format="tfrecord")

    def peer():
        os.makedirs(tmp_path / "tft", exist_ok=True)
        by_tft(same, graph, tmp_path / "tft")

    ours(same)
    peer()
    assert sums(tmp_path / "ours") == sums(tmp_path / "tft")
    result = paired(ours, peer, ROUNDS, ours_size=ROWS, peer_size=PEER_ROWS, warm_up=False)
    note_stages(benchmark, ours)
    record_pair(
        benchmark,
        result,
        PEERS["tft"].title,
        ROWS,
        what=f"transform TFRecord to shards, a graph of {ANALYZERS} analyzers",
        package=PEERS["tft"].package,
        paths=path,
    )
    benchmark.pedantic(ours, rounds=1)
