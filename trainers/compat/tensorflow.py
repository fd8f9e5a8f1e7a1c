"""Private names of TensorFlow that training needs."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.python.framework import config

from trainers.compat.require import require

__all__ = ["attributes_of_module", "is_op_determinism_enabled"]

require("tensorflow", tf.__version__, config, "is_op_determinism_enabled", use=">=2.18")
require("tensorflow", tf.__version__, tf.Module, "_TF_MODULE_IGNORED_PROPERTIES", use=">=2.18")


def attributes_of_module(module: tf.Module) -> list[tuple[str, Any]]:
    """Returns (name, value) of the attributes in which a module looks for its parts, in the order of their names."""
    ignored = module._TF_MODULE_IGNORED_PROPERTIES
    return sorted((item for item in vars(module).items() if item[0] not in ignored), key=lambda item: item[0])


def is_op_determinism_enabled() -> bool:
    """Returns whether `tf.config.experimental.enable_op_determinism` was called in this process."""
    return bool(config.is_op_determinism_enabled())
