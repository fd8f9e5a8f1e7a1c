"""Where an accumulator's arrays come from: a column of the input as it is, or a tensor of the traced graph."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from transforms.batches.columns import ColumnInput
from transforms.tft.waiting import is_of_tft

__all__ = ["ColumnInput", "TensorInput", "find_input"]

# Operations that keep the flat sequence of values.
_KEEP_VALUES = frozenset(
    {"Identity", "Reshape", "ExpandDims", "Squeeze", "StopGradient", "EnsureShape", "PreventGradient"}
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorInput:
    """A tensor of the traced graph.

    Attributes:
        name: of the tensor.
    """

    name: str


def find_input(trace: Any, tensor: tf.Tensor, *, allow_column: bool = True) -> ColumnInput | TensorInput:
    """Returns the column that reaches the tensor untouched, or else the tensor itself.

    Args:
        trace: the traced function.
        tensor: of its graph.
        allow_column: False to always have the tensor.
    """
    named = TensorInput(name=tensor.name)
    if not allow_column:
        return named
    cast = None
    current = tensor
    while current.op.type in _KEEP_VALUES or (current.op.type == "Cast" and cast is None):
        if _waits(current.op):
            return named
        if current.op.type == "Cast":
            source = current.op.inputs[0].dtype
            if (source, current.dtype) not in (
                (tf.int64, tf.float32),
                (tf.int64, tf.float64),
                (tf.float32, tf.float64),
            ):
                return named
            cast = current.dtype.as_numpy_dtype.__name__
        current = current.op.inputs[0]
    found = trace.components.get(current.name)
    if found is None:
        return named
    feature, component = found
    value = trace.inputs[feature]
    values_at = 1 if isinstance(value, tf.SparseTensor) else 0
    if component != values_at:
        return named
    return ColumnInput(feature=feature, cast=cast)


def _waits(operation: tf.Operation) -> bool:
    """Returns whether an operation comes after some of the user's by a control dependency: an assertion must run on all records."""
    waited_for = list(operation.control_inputs)
    # TFT's own compare the shapes of values and weights: no reason to leave the columns.
    return bool(waited_for) and not all(is_of_tft(each) for each in (operation, *waited_for))
