"""What analyzers found is written beside the graph as the numbers that NumPy gives, with the outputs they go into."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine import Dataset
from transforms import analyze
from transforms.output.analyzer_results import RESULTS


def preprocessing_fn(inputs):
    import tensorflow_transform as tft

    return {
        "z": tft.scale_to_z_score(inputs["x"]),
        "bucket": tft.bucketize(inputs["x"], 4),
        "word": tft.compute_and_apply_vocabulary(inputs["s"], vocab_filename="words"),
        "plain": inputs["x"],
    }


def test_results_are_those_of_numpy_with_outputs_and_lines(tmp_path):
    x = np.random.default_rng(1).normal(3, 2, 5000).astype(np.float32)
    table = pa.table({"x": pa.array(x), "s": pa.array([f"w{i % 7}" for i in range(5000)])})
    schema = pa.schema([pa.field("x", pa.float32(), nullable=False), pa.field("s", pa.string(), nullable=False)])
    pq.write_table(table.cast(schema), tmp_path / "a.parquet")
    analyze(Dataset.open(tmp_path / "a.parquet"), preprocessing_fn, str(tmp_path / "graph"))
    stored = json.loads((tmp_path / "graph" / "transform_fn" / RESULTS).read_text())
    found = {tuple(entry["outputs"]): entry for entry in stored["results"]}
    assert set(found) == {("z",), ("bucket",)}  # a vocabulary is a file
    np.testing.assert_allclose(found["z",]["values"], [x.mean(dtype=np.float64), x.var(dtype=np.float64)], rtol=1e-5)
    assert found["bucket",]["size"] == 3
    ranks = np.searchsorted(np.sort(x), found["bucket",]["values"]) / len(x)
    np.testing.assert_allclose(ranks, [0.25, 0.5, 0.75], atol=0.01)
    assert all(entry["line"].startswith("test_analyzer_results.py:") for entry in found.values())
