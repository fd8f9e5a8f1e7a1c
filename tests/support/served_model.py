"""A tiny model with every kind of signature that a server must answer, and its answers worked in NumPy."""

from __future__ import annotations

import functools
import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainers.serving.server.observe.metrics import Metrics

__all__ = ["CRASH", "PREDICT", "answers", "asked", "example", "metrics", "rows", "save_version"]

CRASH = bytes.fromhex("0a130a110a0178120c0a0affffffff0f0000000000")  # ends TensorFlow 2.21's own parser
PREDICT = "/v1/models/m:predict"

WEIGHTS = np.array([0.5, -1.5, 2.0], np.float32)


@functools.cache
def metrics() -> Metrics:
    """Counts of a server in this process: Prometheus' registry is one for the process."""
    return Metrics()


def rows(count: int, seed: int = 0) -> np.ndarray:
    """float32 [count, 3]."""
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def example(row: np.ndarray, word: bytes = b"x") -> bytes:
    """A serialized tf.Example of a row."""
    message = tf.train.Example()
    message.features.feature["x"].float_list.value.extend(row.tolist())
    message.features.feature["word"].bytes_list.value.append(word)
    return message.SerializeToString()


def answers(values: np.ndarray, bias: float) -> np.ndarray:
    """float32 [n]: what the model answers."""
    return 1 / (1 + np.exp(-(values @ WEIGHTS + np.float32(bias))))


def asked(port: int, body: bytes, headers: Mapping[str, str] | None = None, path: str = PREDICT) -> tuple[int, Any]:
    """(status, body) of a request over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def save_version(root: Path, number: int, bias: float = 0.0) -> Path:
    """Saves a version whose answers depend on `bias`, moved into its place whole."""
    spec = {"x": tf.io.FixedLenFeature([3], tf.float32), "word": tf.io.FixedLenFeature([], tf.string, "none")}

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(WEIGHTS)
            self.bias = tf.Variable(bias, dtype=tf.float32)

        def score(self, x: tf.Tensor) -> tf.Tensor:
            return tf.sigmoid(tf.linalg.matvec(x, self.weights) + self.bias)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def from_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"outputs": self.score(tf.io.parse_example(examples, spec)["x"])}

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, 3], tf.float32, name="x"),
                tf.TensorSpec([None], tf.string, name="word"),
            ]
        )
        def from_features(self, x: tf.Tensor, word: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"score": self.score(x), "word_bytes": tf.strings.upper(word)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def classes(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
            score = self.score(tf.io.parse_example(examples, spec)["x"])
            names = tf.tile(tf.constant([["no", "yes"]]), [tf.shape(score)[0], 1])
            return {"classes": names, "scores": tf.stack([1 - score, score], 1)}

    model = Model()
    partial = root / f".partial-{number}"
    signatures = {
        "serving_default": model.from_examples,
        "raw_features": model.from_features,
        "classes": model.classes,
    }
    tf.saved_model.save(model, str(partial), signatures=signatures)
    return partial.rename(root / str(number))
