"""Small models and data that the training tests share."""

from __future__ import annotations

import numpy as np


def classification_columns(num_records: int = 640, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns features x [n, 8], c [n] and a label y [n] that a small network can learn."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_records, 8)).astype(np.float32)
    c = rng.integers(0, 10, num_records)
    y = (x @ rng.normal(size=8) + 0.3 * (c - 5) > 0).astype(np.int64)
    return {"x": x, "c": c, "y": y}


def build_keras3(context):
    """Returns a compiled Keras 3 model with an embedding, BatchNorm and dropout: each has a state of its own."""
    import keras

    inputs = {"x": keras.Input((8,), name="x"), "c": keras.Input((), dtype="int64", name="c")}
    embedded = keras.layers.Embedding(10, 4)(inputs["c"])
    hidden = keras.layers.Concatenate()([inputs["x"], embedded])
    hidden = keras.layers.Dense(16, activation="relu")(hidden)
    hidden = keras.layers.Dropout(0.1)(keras.layers.BatchNormalization()(hidden))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid", dtype="float32")(hidden))
    model.compile(
        keras.optimizers.Adam(context.hyperparameters.get("rate", 1e-2)),
        "binary_crossentropy",
        metrics=["accuracy", keras.metrics.AUC(name="auc")],
    )
    return model


def build_dense(context):
    """Returns a compiled Keras 3 model whose loss does not depend on how the global batch is split over replicas."""
    import keras

    keras.utils.set_random_seed(1)
    inputs = {"x": keras.Input((8,), name="x")}
    hidden = keras.layers.Dense(8, activation="tanh")(inputs["x"])
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid", dtype="float32")(hidden))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "binary_crossentropy", metrics=["accuracy"])
    return model
