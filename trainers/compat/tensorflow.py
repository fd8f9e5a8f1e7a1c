"""Private names of TensorFlow that training needs."""

from __future__ import annotations

import tensorflow as tf
from tensorflow.python.framework import config

from trainers.compat.require import require

__all__ = ["is_op_determinism_enabled"]

require("tensorflow", tf.__version__, config, "is_op_determinism_enabled", use=">=2.18")


def is_op_determinism_enabled() -> bool:
    """Returns whether `tf.config.experimental.enable_op_determinism` was called in this process."""
    return bool(config.is_op_determinism_enabled())
