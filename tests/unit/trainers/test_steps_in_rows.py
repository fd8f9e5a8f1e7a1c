"""Models whose rows have an answer for each step or pixel: Keras 3 takes no weight a row there, which padding would be."""

from __future__ import annotations

import numpy as np
import pytest

from trainers import ArrayDataset, Trainer, TrainerConfig


def build(context):
    import keras

    keras.utils.set_random_seed(1)
    inputs = {"words": keras.Input((6,), name="words", dtype="int64")}
    model = keras.Model(inputs, keras.layers.Dense(4, "softmax")(keras.layers.Embedding(20, 4)(inputs["words"])))
    model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_evaluation_with_a_padded_batch_equals_keras(tmp_path):
    words = np.random.default_rng(0).integers(0, 20, (40, 6))
    data = ArrayDataset({"words": words, "tags": words % 4})
    config = TrainerConfig(directory=str(tmp_path), label="tags", global_batch_size=16, steps=2, tensorboard=False)
    result = Trainer(config, build, data, eval=data).fit()
    expected = result.model.evaluate({"words": words}, words % 4, batch_size=16, verbose=0, return_dict=True)
    assert result.eval_metrics == pytest.approx(expected, rel=1e-5)
