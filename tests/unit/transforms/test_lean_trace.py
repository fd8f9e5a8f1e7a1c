"""What a trace does without: reductions of batches that nothing runs, and a run of the graph that could tell nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from engine import Dataset
from transforms import analyze
from transforms.output.row_check import outputs_to_check
from transforms.tracing.trace import Trace, trace

SPECS = {
    "x": tf.TensorSpec([None], tf.float32),
    "vector": tf.TensorSpec([None, 3], tf.float32),
    "sparse": tf.SparseTensorSpec([None, None], tf.float32),
    "ragged": tf.RaggedTensorSpec([None, None], tf.float32, ragged_rank=1),
    "word": tf.TensorSpec([None], tf.string),
}


def _traced(function: Callable[..., Any], folder: Path) -> Trace:
    return trace(function, SPECS, str(folder))


def _operations(found: Trace) -> list[str]:
    return [each.type for each in found.graph.get_operations()]


@pytest.mark.parametrize("name", ["x", "vector", "sparse", "ragged"])
def test_moments_of_a_whole_column_are_traced_without_their_reduction(name: str, tmp_path: Path) -> None:
    def whole(inputs: Any) -> Any:
        return {"z": tft.scale_to_z_score(inputs[name])}

    assert "IsFinite" not in _operations(_traced(whole, tmp_path))


def test_moments_of_each_element_keep_their_reduction(tmp_path: Path) -> None:
    def elements(inputs: Any) -> Any:
        return {"z": tft.scale_to_z_score(inputs["vector"], elementwise=True)}

    assert "IsFinite" in _operations(_traced(elements, tmp_path))


def test_moments_of_all_kinds_are_numpys(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    lists = [list(rng.normal(4, 3, rng.integers(0, 5))) for _ in range(700)]
    table = pa.table(
        {
            "x": rng.normal(2, 5, 700).astype(np.float32),
            "lists": pa.array(lists, pa.list_(pa.float32())),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(1, 2, 2100).astype(np.float32)), 3),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=100)

    def moments(inputs: Any) -> Any:
        def told(value: Any) -> Any:
            return tf.fill(tf.shape(inputs["x"])[:1], value)

        squares = tft.scale_to_z_score(inputs["x"]) ** 2  # of a second pass, on a graph that is traced again
        outputs = {"square": told(tft.mean(squares)), "spread": told(tft.var(squares))}
        for name in ("x", "lists", "vector"):
            outputs |= {f"{name}_mean": told(tft.mean(inputs[name])), f"{name}_var": told(tft.var(inputs[name]))}
        return outputs

    analyze(Dataset.open(str(tmp_path / "rows.parquet")), moments, tmp_path / "graph")
    layer = tft.TFTransformOutput(str(tmp_path / "graph")).transform_features_layer()
    record = {
        "x": tf.constant([1.0]),
        "vector": tf.constant([[1.0, 2.0, 3.0]]),
        "lists": tf.sparse.from_dense([[1.0]]),
    }
    found = {name: float(value[0]) for name, value in layer(record).items()}
    x = table["x"].to_numpy().astype(np.float64)
    squares = ((x - x.mean()) / x.std()) ** 2
    expected = {"square": squares.mean(), "spread": squares.var()}
    for name in ("x", "lists", "vector"):
        values = table[name].to_numpy() if name == "x" else table[name].combine_chunks().flatten().to_numpy()
        values = values.astype(np.float64)
        expected |= {f"{name}_mean": values.mean(), f"{name}_var": values.var()}
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_size_of_a_table_cannot_change_the_number_of_rows(tmp_path: Path) -> None:
    def ids(inputs: Any) -> Any:
        return {
            "id": tft.compute_and_apply_vocabulary(inputs["word"], num_oov_buckets=3),
            "share": inputs["x"] / tf.reduce_sum(inputs["x"]),
            "kept": tf.boolean_mask(inputs["x"], inputs["x"] > 0),
            "scalar": tf.constant([1.0, 2.0]) * tf.reduce_sum(inputs["x"]),
        }

    found = _traced(ids, tmp_path)
    assert outputs_to_check(found.inputs, found.outputs) == ["kept", "scalar"]
