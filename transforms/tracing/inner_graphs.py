"""Analyzers in graphs within the traced one: a tf.function, a branch of tf.cond, the body of a loop.

TFT notes an analyzer in the graph where it is called, and looks for them in the outermost alone. One further in was never analyzed,
and what stands in for its result while tracing went into the transformed data.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow_transform import analyzer_nodes

from transforms.tft.patches import replaced
from transforms.tracing.user_function import UserFunction, place_in

__all__ = ["refusing_inner_analyzers"]

_GENERATED = "__autograph_generated_file"


@contextlib.contextmanager
def refusing_inner_analyzers(function: UserFunction) -> Iterator[Callable[[], None]]:
    """Refuses analyzers in inner graphs when the context ends.

    Args:
        function: that is traced meanwhile.

    Yields:
        What is to be called in the outermost graph, before the function is.

    Raises:
        ConfigError: with the line of the first of them.
    """
    outermost: list[Any] = []
    found: list[str] = []

    def begin() -> None:
        outermost.append(tf.compat.v1.get_default_graph())

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def bind(*args: Any, **kwargs: Any) -> Any:
            if outermost and tf.compat.v1.get_default_graph() is not outermost[-1]:
                # Autograph runs a copy of the user's code from a temporary file.
                frames = [each for each in traceback.extract_stack() if _GENERATED not in each.filename]
                found.append(place_in(frames) or function.place)
            return original(*args, **kwargs)

        return bind

    failure: Exception | None = None
    try:
        with replaced(analyzer_nodes, {"bind_future_as_tensor": wrap}):
            yield begin
    except Exception as error:  # not Ctrl-C, which is what the user wants to see
        if not found:
            raise
        failure = error
    if found:  # in place of whatever TensorFlow made of it
        raise function.refuse(
            "calls an analyzer inside of a tf.function, a branch of tf.cond or the body of a loop, where it cannot be analyzed: "
            "call it outside, and use its result inside",
            place=found[0],
        ) from failure
