"""The Keras precision policy under which a model is built."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator

__all__ = ["precision_policy", "unused_policy"]


@contextlib.contextmanager
def precision_policy(name: str) -> Iterator[None]:
    """Layers made within the context have this policy, in both Keras generations; the old one is back after it."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    if name != "float32" and importlib.util.find_spec("tf_keras") is not None:
        importlib.import_module(
            "tf_keras"
        )  # the program may import it within the context, too late to be given a policy
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


def unused_policy(name: str) -> str | None:
    """Returns what should be said where the program has set another policy than this one, under which its models are built."""
    import keras

    tf_keras = sys.modules.get("tf_keras")
    there = [keras.config.dtype_policy().name, *([tf_keras.mixed_precision.global_policy().name] if tf_keras else ())]
    other = next((policy for policy in there if policy not in (name, "float32")), None)
    if other is None:
        return None
    return (
        f"the program's policy {other!r} (set_dtype_policy, set_floatx) is not that of the model, which is built with precision = "
        f"{name!r} of the settings: set it there, or call set_dtype_policy in build_model"
    )
