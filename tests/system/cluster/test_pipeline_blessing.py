"""A model that does not reach its thresholds: one exit code in run, evaluate and push, said again when nothing is done anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from engine.core.exit_codes import NOT_MET
from tests.support.forks import run_forked
from tests.support.models import classification_columns

ROOT = Path(__file__).parents[3]

MODULE = """
import keras

def build_model(context):
    inputs = {"x": keras.Input((), name="x")}
    output = keras.layers.Dense(1, activation="sigmoid")(keras.layers.Reshape((1,))(inputs["x"]))
    model = keras.Model(inputs, output)
    model.compile("sgd", "binary_crossentropy")
    return model
"""
PIPELINE = """
[pipeline]
name = "p"
module = "p.py"
label = "y"
[data]
train = "rows.parquet"
eval = "rows.parquet"
[stats]
[train]
epochs = 1
global_batch_size = 64
[export]
[evaluate]
thresholds = { auc = 0.999 }
"""
RUN = """
import sys
from cluster.cli.main import main
code = main(sys.argv[1:])
print("heavy", sorted({"tensorflow", "keras", "apache_beam", "tensorflow_transform", "ray"} & set(sys.modules)))
sys.exit(code)
"""


def run(folder, *words):
    code, out, errors = run_forked(RUN, *words, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return code, out + errors


def run_alone(folder, *words):
    """In a process that has nothing imported."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_not_blessed_is_one_exit_code_and_is_said_again_without_work(tmp_path):
    columns = classification_columns()
    pq.write_table(pa.table({"x": columns["x"][:, 0], "y": columns["y"]}), tmp_path / "rows.parquet")
    (tmp_path / "p.py").write_text(MODULE)
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    code, said = run(tmp_path, "run", "pipeline.toml", "--work-dir", "work")
    assert code == NOT_MET, said
    assert "train      runs, step 2 of 4" in said and "auc of all rows is" in said
    (log,) = (tmp_path / "work" / "logs").glob("run-*.log")
    kept = log.read_text()
    assert "INFO train  train      runs, step 2 of 4" in kept and "INFO export  export: done, 1 parts in" in kept
    assert "INFO train  checkpoint of step 10 is in" in kept and kept.endswith("INFO -  ends with exit code 3\n")
    code, said = run_alone(tmp_path, "run", "pipeline.toml", "--work-dir", "work")
    assert code == NOT_MET, said
    assert said.count("skipped") == 4 and "not blessed: auc of all rows is" in said and "mean_prediction 0." in said
    assert "heavy []" in said
    model = next((tmp_path / "work" / "export").glob("*/model/1"))
    result = next((tmp_path / "work" / "evaluate").glob("*/evaluation.json"))
    assert json.loads(result.read_text())["failures"]
    first = str(result.parent.resolve())  # `latest` leads elsewhere soon
    code, said = run(tmp_path, "push", str(model), "--to", "served", "--evaluation", str(result))
    assert code == NOT_MET and "is not blessed: auc of all rows" in said
    kept = tmp_path / "work" / "blessed" / "FeatureStats.pb"
    assert not kept.exists()
    code, said = run(tmp_path, "run", "pipeline.toml", "--work-dir", "work", "--set", "evaluate.thresholds.auc=0.01")
    assert (
        code == 0 and kept.read_bytes() == (tmp_path / "work/stats/latest/Split-train/FeatureStats.pb").read_bytes()
    ), said
    code, said = run(tmp_path, "compare", first, "work")
    assert code == 0 and "the second may replace the first" in said and "on the same rows" in said, said
    assert "configuration: evaluate.thresholds: " in said and "code:" not in said, said
    code, said = run(tmp_path, "compare", "work", first, "--format", "md")
    assert code == NOT_MET and "* auc of all rows is" in said and "configuration: evaluate.thresholds" in said, said
