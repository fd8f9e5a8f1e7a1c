"""xla=True compiles the whole step under one_device."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from trainers import ArrayDataset, Trainer, TrainerConfig
from trainers.loop.synchronous import SynchronousLoop


def build(context):
    keras.utils.set_random_seed(3)
    inputs = {"x": keras.Input((4,), name="x"), "c": keras.Input((), dtype="int64", name="c")}
    hidden = keras.layers.Concatenate()([inputs["x"], keras.layers.Embedding(20, 3)(inputs["c"])])
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy", metrics=[keras.metrics.AUC(name="auc")])
    return model


def data():
    rng = np.random.default_rng(0)
    x, c = rng.normal(size=(128, 4)).astype(np.float32), rng.integers(0, 20, 128)
    return ArrayDataset({"x": x, "c": c, "y": (x[:, 0] > 0).astype(np.int64)})


@pytest.fixture
def loops(monkeypatch):
    made = []
    init = SynchronousLoop.__init__
    monkeypatch.setattr(SynchronousLoop, "__init__", lambda self, *a, **k: (init(self, *a, **k), made.append(self))[0])
    return made


def trained(directory, dataset, **settings):
    chosen = {"label": "y", "global_batch_size": 16, "epochs": 2, "steps_per_call": 4, "tensorboard": False}
    return Trainer(TrainerConfig(directory=str(directory), **{**chosen, **settings}), build, dataset).fit()


@pytest.mark.parametrize("options", [{"clip_norm": 0.05}, {"accumulate_steps": 2}])
def test_a_step_compiled_as_a_whole_updates_as_an_uncompiled_one(tmp_path, loops, options):
    plain = trained(tmp_path / "plain", data(), **options)
    compiled = trained(tmp_path / "xla", data(), xla=True, **options)
    assert loops[0]._whole_step is None
    assert loops[1]._whole_step.experimental_get_tracing_count() == 1, "all steps share one compiled program"
    for one, other in zip(plain.model.get_weights(), compiled.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)
    assert compiled.metrics["auc"] == pytest.approx(plain.metrics["auc"], abs=1e-5)


def test_one_replica_of_a_strategy_for_several_compiles_its_gradients_alone(tmp_path, loops):
    mirrored = {"strategy": "mirrored", "strategy_options": {"devices": ["/cpu:0"]}, "clip_norm": 0.05}
    plain = trained(tmp_path / "plain", data(), **mirrored)
    compiled = trained(tmp_path / "xla", data(), xla=True, **mirrored)
    assert loops[1]._whole_step is None
    for one, other in zip(plain.model.get_weights(), compiled.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)
