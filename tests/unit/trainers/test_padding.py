"""Slots of a batch that hold no record: they change nothing, whatever the model makes of zeros."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import Dataset
from trainers import Trainer, TrainerConfig


def test_padding_of_an_evaluation_is_rows_of_the_data_which_a_model_can_compute_with(tmp_path):
    import keras
    import tensorflow as tf

    rows = 100  # of which the last batch of 40 has 20
    rng = np.random.default_rng(1)
    columns = {
        "text": [" ".join(f"t{j}" for j in rng.integers(0, 9, 1 + i % 4)) for i in range(rows)],
        "tags": pa.array([rng.integers(1, 9, 1 + i % 3).tolist() for i in range(rows)], pa.list_(pa.int64())),
        "size": rng.uniform(1, 2, rows).astype(np.float32),
        "y": rng.integers(0, 2, rows),
    }
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")

    class Means(keras.Model):
        """No numbers where a text or a list is empty, and of the logarithm of a size of 0."""

        def __init__(self):
            super().__init__()
            self.words = keras.layers.TextVectorization(max_tokens=20, vocabulary=[f"t{i}" for i in range(9)])
            self.vectors = keras.layers.Embedding(20, 4, mask_zero=True)
            self.mean, self.head = keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1, "sigmoid")

        def call(self, x):
            tags = x["tags"]
            total = tf.sparse.reduce_sum(tags, 1) / tf.sparse.reduce_sum(tf.sign(tags), 1)
            numbers = tf.stack([tf.cast(total, tf.float32), tf.math.log(x["size"])], 1)
            return self.head(tf.concat([self.mean(self.vectors(self.words(x["text"]))), numbers], 1))

    def build(context):
        keras.utils.set_random_seed(1)
        model = Means()
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
        return model

    settings = {"label": "y", "global_batch_size": 40, "steps": 2, "tensorboard": False}
    data = Dataset.open(str(tmp_path / "x.parquet"))
    result = Trainer(TrainerConfig(directory=str(tmp_path / "run"), **settings), build, data, eval=data).fit()
    tags = tf.RaggedTensor.from_row_lengths(
        np.concatenate(columns["tags"].to_pylist()), [len(each) for each in columns["tags"].to_pylist()]
    ).to_sparse()
    whole = {"text": tf.constant(columns["text"]), "tags": tags, "size": tf.constant(columns["size"])}
    loss = keras.losses.BinaryCrossentropy()(columns["y"][:, None], result.model(whole))
    assert result.eval_metrics["loss"] == pytest.approx(float(loss), rel=1e-5)
