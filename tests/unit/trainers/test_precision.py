"""The policy of `precision` reaches every layer, and what else the program has set is not ignored in silence."""

from __future__ import annotations

import sys

import pytest

from tests.support.models import classification_columns
from trainers import ArrayDataset, Trainer, TrainerConfig
from trainers.models.precision import precision_policy


def test_policy_reaches_a_tf_keras_that_is_imported_under_it(monkeypatch):
    import tf_keras

    monkeypatch.delitem(sys.modules, "tf_keras")
    with precision_policy("mixed_bfloat16"):
        import tf_keras as imported

        assert imported.layers.Dense(1).compute_dtype == "bfloat16"
    assert tf_keras.layers.Dense(1).compute_dtype == "float32"


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_policy_reaches_layers_that_are_made_in_build_and_that_of_the_program_is_named(tmp_path, capfd, precision):
    import keras

    class Late(keras.Model):
        def build(self, shape):
            self.head = keras.layers.Dense(1)

        def call(self, x):
            return keras.ops.cast(self.head(x["x"]), "float32")

    def build(context):
        model = Late()
        model.compile("sgd", "mse")
        return model

    data = ArrayDataset({name: value for name, value in classification_columns(64).items() if name in "xy"})
    config = TrainerConfig(
        directory=str(tmp_path), label="y", global_batch_size=32, steps=1, tensorboard=False, precision=precision
    )
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = Trainer(config, build, data).fit().model
    finally:
        keras.config.set_dtype_policy(before)
    assert model.head.dtype_policy.name == precision
    assert "the program's policy 'mixed_float16' (set_dtype_policy, set_floatx) is not" in capfd.readouterr().err
