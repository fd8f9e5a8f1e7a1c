"""What a machine with a GPU must show: `make test-gpu`. On any other machine all of it is skipped, with the reason."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

_ROWS, _BATCH = 4096, 256


def data():
    from engine.dataset.arrays import ArrayDataset

    rng = np.random.default_rng(0)
    x, c = rng.normal(size=(_ROWS, 16)).astype(np.float32), rng.integers(0, 100, _ROWS)
    return ArrayDataset({"x": x, "c": c, "y": (x[:, 0] + 0.1 * (c % 7) > 0.3).astype(np.int64)})


def build(context):
    import keras

    inputs = {"x": keras.Input((16,), name="x"), "c": keras.Input((), dtype="int64", name="c")}
    hidden = keras.layers.Concatenate()([inputs["x"], keras.layers.Embedding(100, 8)(inputs["c"])])
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(64, activation="relu")(hidden))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid", dtype="float32")(hidden))
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    return model


def fit(directory, **settings):
    from trainers import Trainer, TrainerConfig

    chosen = {"label": "y", "global_batch_size": _BATCH, "epochs": 4, "strategy": "one_device", "tensorboard": False}
    config = TrainerConfig(directory=str(directory), **{**chosen, **settings})
    return Trainer(config, build, data(), eval=data()).fit()


def digest(model) -> str:
    return hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()


def run_program(program, *arguments, **environment) -> dict:
    """Runs a program in a process of its own, its memory on the GPU growing with need; returns the JSON that it prints last."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    variables = {**os.environ, "TF_FORCE_GPU_ALLOW_GROWTH": "true", **environment}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def in_another_process(directory, **settings) -> dict:
    """Trains in a process of its own; returns its weights' digest and where it began."""
    program = (
        "import json, sys; from tests.gpu import test_gpu as t\n"
        "r = t.fit(sys.argv[1], **json.loads(sys.argv[2]))\n"
        "print(json.dumps({'digest': t.digest(r.model), 'resumed_from': r.resumed_from, 'metrics': r.eval_metrics}))"
    )
    return run_program(program, directory, json.dumps(settings))


@pytest.mark.parametrize(
    "options",
    [{}, {"deterministic": False}, {"xla": True}, {"precision": "mixed_bfloat16"}, {"precision": "mixed_float16"}],
)
def test_training_learns_on_the_gpu(tmp_path, options):
    result = fit(tmp_path, **options)
    assert result.eval_metrics["accuracy"] > 0.85
    assert all("GPU" in weight.value.device for weight in result.model.weights if weight.dtype == "float32")


def test_an_interrupted_run_ends_with_the_bits_of_an_undisturbed_one(tmp_path):
    whole = in_another_process(tmp_path / "whole", epochs=4)
    in_another_process(tmp_path / "cut", epochs=2)
    resumed = in_another_process(tmp_path / "cut", epochs=4)
    assert resumed["resumed_from"] == 2 * _ROWS // _BATCH and resumed["digest"] == whole["digest"]


def test_mirrored_over_two_logical_gpus_equals_one(tmp_path):
    program = (
        "import json, sys, tensorflow as tf; from tests.gpu import test_gpu as t\n"
        "limit = tf.config.LogicalDeviceConfiguration(memory_limit=4000)\n"
        "tf.config.set_logical_device_configuration(tf.config.list_physical_devices('GPU')[0], [limit] * 2)\n"
        "r = t.fit(sys.argv[1], strategy='mirrored'); print(json.dumps(r.eval_metrics))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "two")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    two = json.loads(done.stdout.splitlines()[-1])
    one = in_another_process(tmp_path / "one")["metrics"]
    assert two["accuracy"] == pytest.approx(one["accuracy"], abs=0.02)


def test_memory_grows_with_need_and_step_times_agree_with_the_rate(tmp_path):
    import tensorflow as tf

    result = fit(tmp_path, epochs=8, log_every_steps=64)
    used = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    assert 0 < used < 1 << 30, "a small model holds less than 1 GiB"
    step_s = result.metrics["step_ms_p50"] / 1e3
    assert 0 <= result.metrics["input_wait_share"] <= 1 and step_s > 0


def test_evaluation_and_export_answer_as_the_model_in_memory(tmp_path):
    import tensorflow as tf

    from trainers.export.from_checkpoint import export_checkpoint

    result, spec = fit(tmp_path / "run"), data().feature_spec()
    version = export_checkpoint(tmp_path / "run", build, tmp_path / "out", transform_graph=None, raw_feature_spec=spec)
    columns = {name: tf.constant(values[:64]) for name, values in data().columns.items() if name != "y"}
    answer = tf.saved_model.load(str(version)).signatures["raw_features"](**columns)["outputs"]
    np.testing.assert_allclose(answer, result.model(columns), rtol=1e-4, atol=1e-5)
