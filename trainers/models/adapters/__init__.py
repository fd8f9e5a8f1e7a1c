"""What kind of model was built: Keras 3, tf_keras, or a plain tf.Module with a step of its own."""

from __future__ import annotations

import sys
from typing import Any

from engine.core.errors import ConfigError
from trainers.models.adapters.base import ModelAdapter
from trainers.models.adapters.generation import check_generation

__all__ = ["ModelAdapter", "adapt"]


def adapt(model: Any) -> ModelAdapter:
    """Returns the adapter of a model.

    Raises:
        ConfigError: not one of the three kinds, a Keras model that is not compiled, or one with parts of the other Keras.
    """
    import keras
    import tensorflow as tf

    if isinstance(model, keras.Model):
        from trainers.models.adapters.keras3 import Keras3Adapter

        check_generation(model, "keras")
        return Keras3Adapter(model)
    tf_keras = sys.modules.get("tf_keras")
    if tf_keras is not None and isinstance(model, tf_keras.Model):
        from trainers.models.adapters.keras2 import Keras2Adapter

        check_generation(model, "tf_keras")
        return Keras2Adapter(model)
    if isinstance(model, tf.Module):
        from trainers.models.adapters.module import ModuleAdapter

        return ModuleAdapter(model)
    raise ConfigError(
        f"build_model returned {type(model).__module__}.{type(model).__name__}: a compiled keras.Model, a compiled "
        "tf_keras.Model or a tf.Module with `optimizer` and `compute_loss` is expected"
    )
