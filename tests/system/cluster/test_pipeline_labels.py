"""A pipeline with several labels: none of them is an input, and the exported model answers all of them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.cli.main import main
from cluster.pipeline.config import load_pipeline

MODULE = """
def build_model(context):
    import keras

    assert sorted(context.feature_spec) == ["x"] and sorted(context.label_spec) == ["late", "minutes"]
    inputs = {"x": keras.Input((), name="x")}
    hidden = keras.layers.Reshape((1,))(inputs["x"])
    outputs = {
        "late": keras.layers.Dense(1, activation="sigmoid", name="late")(hidden),
        "minutes": keras.layers.Dense(1, name="minutes")(hidden),
    }
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.1), {"late": "binary_crossentropy", "minutes": "mse"})
    return model
"""
PIPELINE = """
[pipeline]
name = "two"
module = "model.py"
label = ["late", "minutes"]
work_dir = "work"
[data]
train = "rows.parquet"
eval = "rows.parquet"
[train]
epochs = 3
global_batch_size = 64
tensorboard = false
[export]
[evaluate]
output = "late"
metrics = ["auc"]
"""


def test_two_labels_are_trained_exported_and_the_first_is_measured(tmp_path, capfd):
    x = np.random.default_rng(0).normal(size=640).astype(np.float32)
    late = (x > 0).astype(np.int64)
    pq.write_table(pa.table({"x": x, "late": late, "minutes": 2 * x}), tmp_path / "rows.parquet")
    (tmp_path / "model.py").write_text(MODULE)
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    assert load_pipeline(tmp_path / "pipeline.toml").labels == ("late", "minutes")
    assert main(["run", str(tmp_path / "pipeline.toml")]) == 0, capfd.readouterr().err
    (result,) = (tmp_path / "work").rglob("evaluation.json")
    measured = json.loads(result.read_text())["overall"]
    assert 0.99 < next(value for name, value in measured.items() if "auc" in name) <= 1.0  # ranking by x is perfect
