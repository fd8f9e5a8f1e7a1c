"""SavedModels of raw features: one whose graph computes its label, one that makes very much of each row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["save_model", "save_wide_model"]


def save_model(folder: Path) -> Path:
    """Saves a model of a number and a text whose graph computes its label, and returns the directory of its versions."""
    import tensorflow as tf

    class Model(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.float32, name="x"),
                tf.TensorSpec([None], tf.string, name="s0"),
            ]
        )
        def raw_features(self, x: Any, s0: Any) -> dict[str, Any]:
            return {
                "late": tf.sigmoid(x - 3 + 0.1 * tf.cast(tf.strings.length(s0), tf.float32)),
                "both": tf.stack([x, -x], axis=1),
            }

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def transform_raw_features(self, x: Any) -> dict[str, Any]:
            return {"was_late": tf.cast(x + 4 * tf.sin(7 * x) > 3, tf.int64)[:, None]}

    model = Model()
    signatures = {"raw_features": model.raw_features, "transform_raw_features": model.transform_raw_features}
    tf.saved_model.save(model, str(folder / "models" / "1"), signatures=signatures)
    return folder / "models"


def save_wide_model(folder: Path, width: int) -> Path:
    """Saves a model that makes `width` float32 of each row on the way to its answer, a sigmoid; returns the directory of its versions."""
    import tensorflow as tf

    class Wide(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(tf.linspace(-1.0, 1.0, width))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def raw_features(self, x: Any) -> dict[str, Any]:
            return {"late": tf.sigmoid(tf.reduce_mean(tf.nn.relu(x[:, None] * self.weights), axis=1))}

    model = Wide()
    tf.saved_model.save(model, str(folder / "wide" / "1"), signatures={"raw_features": model.raw_features})
    return folder / "wide"
