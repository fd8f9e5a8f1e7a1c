"""The Keras precision policy under which a model is built."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

__all__ = ["precision_policy"]


@contextlib.contextmanager
def precision_policy(name: str) -> Iterator[None]:
    """Layers made within the context have this policy, in both Keras generations; the old one is back after it."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    tf_keras = sys.modules.get("tf_keras")
    old = tf_keras.mixed_precision.global_policy() if tf_keras else None
    if tf_keras:
        tf_keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
        if tf_keras:
            tf_keras.mixed_precision.set_global_policy(old)
