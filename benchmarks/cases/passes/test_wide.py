"""Wide tables: what analyze, transform and TensorFlow Transform's analysis take for 200, 800 and 2,000 columns of 2,000 rows.

Half of the columns are z-scores, half vocabularies of `tf.strings.lower`. TFT is measured on fewer: it takes seconds a column.
"""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.harness.growth import grow
from cluster.benchmarking.passes import tft_run, vocabularies
from engine import Dataset, write_batches

tf = pytest.importorskip("tensorflow")
tft = pytest.importorskip("tensorflow_transform")

from transforms import analyze, transform  # noqa: E402

pytestmark = [pytest.mark.full, pytest.mark.timeout(7200)]
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "3"))
ROWS = 2000
WIDTHS = (200, 800, 2000)
TFT_WIDTHS = (10, 40, 100)


def preprocessing_fn(inputs):
    outputs = {name: tft.scale_to_z_score(value) for name, value in inputs.items() if name[0] == "f"}
    for name, value in inputs.items():
        if name[0] == "s":
            outputs[name] = tft.compute_and_apply_vocabulary(tf.strings.lower(value), vocab_filename=name)
    return outputs


def _files(directory, widths, format="parquet") -> dict[int, str]:
    found = {}
    rng = np.random.default_rng(0)
    for width in widths:
        columns = {f"f{i}": pa.array(rng.normal(size=ROWS).astype(np.float32)) for i in range(width // 2)}
        for i in range(width // 2):
            columns[f"s{i}"] = pa.array([b"W%d" % each for each in rng.integers(0, 100, ROWS)], pa.binary())
        schema = pa.schema([pa.field(name, each.type, nullable=False) for name, each in columns.items()])
        found[width] = str(directory / f"{width}.{format}")
        write_batches([pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)], schema, found[width], format)
    return found


def test_analyzing_by_columns(benchmark, tmp_path):
    paths = _files(tmp_path, WIDTHS)

    def analyzed(width: int) -> int:
        graph = tmp_path / f"graph{width}"
        analyze(Dataset.open(paths[width]), preprocessing_fn, graph)
        return 2 * len(vocabularies(graph))

    grow(benchmark, "column", WIDTHS, analyzed, ROUNDS)


def test_transforming_by_columns(benchmark, tmp_path):
    paths = _files(tmp_path, WIDTHS)
    for width, path in paths.items():
        analyze(Dataset.open(path), preprocessing_fn, tmp_path / f"graph{width}")

    def transformed(width: int) -> int:
        out = tmp_path / f"out{width}"
        written = transform(Dataset.open(paths[width]), tmp_path / f"graph{width}", out, num_shards=1).written
        return written // ROWS * len(Dataset.open(str(out)).schema)

    grow(benchmark, "column", WIDTHS, transformed, ROUNDS)


def test_analyzing_with_tft_by_columns(benchmark, tmp_path):
    """TFT on Beam's DirectRunner, on TFRecord; its vocabularies are those of our analysis of the same files."""
    paths = _files(tmp_path, TFT_WIDTHS, "tfrecord")

    def analyzed(width: int) -> int:
        out = tmp_path / f"tft{width}"
        out.mkdir(exist_ok=True)
        tft_run(paths[width], Dataset.open(paths[width]).feature_spec(), preprocessing_fn, out)
        return 2 * len(vocabularies(out / "graph"))

    grow(benchmark, "column", TFT_WIDTHS, analyzed, max(ROUNDS - 1, 1))
    for width, path in paths.items():
        analyze(Dataset.open(path), preprocessing_fn, tmp_path / f"ours{width}")
        assert vocabularies(tmp_path / f"ours{width}") == vocabularies(tmp_path / f"tft{width}" / "graph")
