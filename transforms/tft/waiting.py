"""Analyzers under `tf.control_dependencies`, which wait for what the user has put there, an assertion on the records say.

Their own operations do, but the tensors that they are called on may come from before: those are passed on by an operation that waits,
too, since an accumulator takes them as they are.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_transform

from transforms.tft.versions import require

__all__ = ["is_of_tft", "of_waiting", "on_waiting"]

require(tf.Graph, "_control_dependencies_for_inputs", distribution="tensorflow")

_TFT = os.path.join(os.path.dirname(tensorflow_transform.__file__), "")


def is_of_tft(operation: Any) -> bool:
    """Returns whether TFT's own code made an operation of a graph, and not the user's."""
    frames = list(operation.traceback.get_user_frames()) if operation.traceback is not None else []
    return bool(frames) and frames[-1].filename.startswith(_TFT)


def on_waiting(original: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a reduction of a batch that is called on tensors that wait."""

    @functools.wraps(original)
    def reduce(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = tf.nest.map_structure(_waiting, (args, kwargs), expand_composites=True)
        return original(*args, **kwargs)

    return reduce


def of_waiting(original: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function that makes an analyzer's source, called on tensors that wait."""

    @functools.wraps(original)
    def source(tensors: Any) -> Any:
        waiting = [_waiting_sum(each) if tf.is_symbolic_tensor(each) else each for each in tensors]
        return original(waiting if isinstance(tensors, list) else tuple(waiting))  # it may be any collection

    return source


def _waiting_sum(tensor: Any) -> Any:
    if tensor.op.type != "Sum":
        return _waiting(tensor)
    # The sum is made by TFT's `sum` itself, which only this sees; an accumulator adds what is summed.
    raw, axes = tensor.op.inputs
    waiting = _waiting(raw)
    if waiting is raw:
        return _waiting(tensor)
    return tf.raw_ops.Sum(input=waiting, axis=axes, keep_dims=tensor.op.get_attr("keep_dims"))


def _waiting(tensor: Any) -> Any:
    """The tensor, or one of the same values that waits for the user's operations that the context asks to wait for."""
    if not tf.is_symbolic_tensor(tensor):
        return tensor
    graph = tf.compat.v1.get_default_graph()
    if tensor.graph is not graph:
        return tensor  # of an outer graph: an analyzer in an inner one is refused
    waited_for = graph._control_dependencies_for_inputs([tensor.op])
    return tensor if all(is_of_tft(each) for each in waited_for) else tf.identity(tensor)
