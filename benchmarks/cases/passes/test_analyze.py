"""Full passes against TensorFlow Transform on Beam's DirectRunner, on the same Criteo-like TFRecord file.

`FULLPASS_BENCH_LARGE=1` adds the 2,000,000 rows, which take TensorFlow Transform many minutes. What TFT takes for few rows goes by the
number of analyzers: `FULLPASS_BENCH_TFT_ANALYZERS` (39; a third of them z-scores, the others vocabularies).
"""

from __future__ import annotations

import os
import shutil

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.data import criteo
from benchmarks.harness.stages import note_stages
from benchmarks.peers.registry import PEERS
from cluster.benchmarking.pairs import paired
from cluster.benchmarking.passes import tft_run, vocabularies
from cluster.benchmarking.results import record_pair
from engine import Dataset

tf = pytest.importorskip("tensorflow")
tft = pytest.importorskip("tensorflow_transform")

from transforms import analyze, transform  # noqa: E402

ROWS = int(os.environ.get("FULLPASS_BENCH_TFT_ROWS", "200000"))
ANALYZERS = min(int(os.environ.get("FULLPASS_BENCH_TFT_ANALYZERS", "39")), 39)
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "5"))
LARGE = os.environ.get("FULLPASS_BENCH_LARGE") == "1"


def feature_spec() -> dict:
    """Criteo's features as TFT takes them: it knows no default values, so missing floats are filled in the graph."""
    spec = criteo.feature_spec()
    return {name: tf.io.VarLenFeature(tf.float32) if name[0] == "I" else each for name, each in spec.items()}


def _filled(x):
    dense = tf.sparse.to_dense(tf.SparseTensor(x.indices, x.values, [x.dense_shape[0], 1]), 0.0)
    return tf.squeeze(dense, axis=1)


def preprocessing_fn(inputs):
    outputs = {"label": inputs["label"]}
    for i in range(1, ANALYZERS // 3 + 1):
        outputs[f"I{i}"] = tft.scale_to_z_score(tf.math.log1p(_filled(inputs[f"I{i}"])))
    for i in range(1, ANALYZERS - ANALYZERS // 3 + 1):
        outputs[f"C{i}"] = tft.compute_and_apply_vocabulary(
            inputs[f"C{i}"], top_k=10_000, num_oov_buckets=1, vocab_filename=f"C{i}"
        )
    return outputs


@pytest.fixture
def work(tmp_path):
    os.makedirs(tmp_path / "tft", exist_ok=True)
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.timeout(14400)  # nearly all of it TFT's
@pytest.mark.parametrize("rows", [ROWS, *([2_000_000] if LARGE else [])])
def test_analyze_tfrecord(benchmark, work, rows):
    path = criteo.file("tfrecord", num_rows=rows)

    def ours():
        analyze(Dataset.open(path, feature_spec()), preprocessing_fn, str(work / "ours"))

    ours()
    result = paired(
        ours,
        lambda: tft_run(path, feature_spec(), preprocessing_fn, work / "tft"),
        rounds=ROUNDS,
        warm_up=False,
    )
    assert vocabularies(work / "ours") == vocabularies(work / "tft" / "graph")
    record_pair(
        benchmark,
        result,
        PEERS["tft"].title,
        rows,
        what=f"analyze TFRecord, {ANALYZERS} analyzers",
        package=PEERS["tft"].package,
        paths=path,
        headline=True,
    )
    benchmark.pedantic(ours, rounds=3)


@pytest.mark.full  # TFT takes minutes a pair
@pytest.mark.timeout(14400)
def test_analyze_and_transform_to_shards(benchmark, work):
    path = criteo.file("tfrecord", num_rows=ROWS)

    def ours():
        ds = Dataset.open(path, feature_spec())
        analyze(ds, preprocessing_fn, str(work / "ours"))
        transform(ds, str(work / "ours"), str(work / "shards"), format="tfrecord")

    def peer():
        os.makedirs(work / "tft-shards", exist_ok=True)
        tft_run(path, feature_spec(), preprocessing_fn, work / "tft", str(work / "tft-shards"))

    ours()
    result = paired(ours, peer, rounds=ROUNDS, warm_up=False)
    assert Dataset.open(str(work / "shards")).num_records == ROWS
    record_pair(
        benchmark,
        result,
        PEERS["tft"].title,
        ROWS,
        what="analyze and transform to shards",
        package=PEERS["tft"].package,
        paths=path,
        headline=True,
    )
    benchmark.pedantic(ours, rounds=3)


def test_pass_on_one_core(benchmark, work):
    """The pass alone against what pyarrow needs to read and count the same columns, both on one thread."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from engine.core.progress import Progress
    from transforms.batches.features import LayoutSource
    from transforms.batches.layouts import layouts_of, type_specs_of
    from transforms.passes.phases import plan_phases
    from transforms.runners import FeatureReader
    from transforms.runners.local import LocalRunner
    from transforms.tracing.trace import trace

    def columns_fn(inputs):
        scaled = {f"I{i}": tft.scale_to_z_score(inputs[f"I{i}"]) for i in range(1, 14)}
        counted = {
            f"C{i}": tft.compute_and_apply_vocabulary(inputs[f"C{i}"], top_k=10_000, vocab_filename=f"C{i}")
            for i in range(1, 27)
        }
        return scaled | counted

    path = criteo.file("parquet", num_rows=ROWS)
    spec = criteo.feature_spec()
    ds = Dataset.open(path, spec)
    traced = trace(columns_fn, type_specs_of(spec), str(work))
    (plan,) = plan_phases(traced, LayoutSource(layouts_of(spec)))
    for analyzer in plan.analyzers:
        analyzer.accumulator.num_parts = 1  # as `analyze` chooses for data of this size
    bound = plan.bind({})
    reader = FeatureReader.of(ds.schema, bound.columns, 131072)
    runner = LocalRunner(["--workers=1"])

    def ours():
        with Progress("bench", ROWS) as progress:
            return runner.accumulate(bound, reader, ds.splits(), progress)

    def peer():
        pa.set_cpu_count(1)
        table = pq.read_table(path, columns=list(bound.columns), use_threads=False)
        for name in table.column_names:
            column = table.column(name)
            if pa.types.is_floating(column.type):
                pc.mean(column), pc.variance(column)
            else:
                pc.value_counts(column)

    cpus = pa.cpu_count()
    try:
        result = paired(ours, peer, rounds=5)
    finally:
        pa.set_cpu_count(cpus)
    note_stages(benchmark, ours)
    record_pair(
        benchmark,
        result,
        "pyarrow: read, `value_counts`, moments",
        ROWS,
        what="the pass alone, one core",
        package="pyarrow",
        paths=path,
    )
    benchmark.pedantic(ours, rounds=3)


@pytest.mark.full
def test_many_vocabularies(benchmark, work):
    """300 vocabularies on 300 columns of 100,000 rows."""
    rows, width = 100_000, 300
    rng = np.random.default_rng(1)
    words = np.array([b"%06x" % value for value in range(5000)], object)
    schema = pa.schema([pa.field(f"c{i}", pa.binary(), nullable=False) for i in range(width)])
    arrays = [pa.array(words[rng.zipf(1.3, rows) % 5000].tolist(), pa.binary()) for _ in range(width)]
    import pyarrow.parquet as pq

    path = str(work / "wide.parquet")
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, row_group_size=25_000)

    def fn(inputs):
        return {name: tft.compute_and_apply_vocabulary(value, vocab_filename=name) for name, value in inputs.items()}

    benchmark.pedantic(lambda: analyze(Dataset.open(path), fn, str(work / "ours")), rounds=1)
    assert len(vocabularies(work / "ours")) == width
    assert benchmark.stats.stats.max < 60 or os.environ.get("FULLPASS_BENCH_STRICT") != "1"
