"""Outputs that are several tensors, as TensorFlow Serving's API has no form for: ragged and sparse ones, told apart by their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainers.export.feature_names import LENGTHS_SUFFIX
from trainers.serving.server.errors import InvalidRequest

__all__ = ["dense_outputs"]


def dense_outputs(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the outputs of a signature as tensors by name.

    A ragged one is its values, row after row, with how many each row has under NAME_row_lengths (of the dimension below it under
    NAME_row_lengths_2, and so on), as ragged features travel; a sparse one NAME_indices, NAME_values and NAME_dense_shape, as
    TensorFlow names the parts of a sparse input.

    Raises:
        InvalidRequest: a part has the name of another output, or an output is of another kind.
    """
    import tensorflow as tf

    if all(isinstance(value, tf.Tensor) for value in outputs.values()):
        return dict(outputs)
    found: dict[str, Any] = {}
    for name, value in outputs.items():
        if isinstance(value, tf.Tensor):
            parts = {name: value}
        elif isinstance(value, tf.RaggedTensor):
            parts = {name: value.flat_values}
            for depth, lengths in enumerate(value.nested_row_lengths(), 1):
                parts[name + LENGTHS_SUFFIX + ("" if depth == 1 else f"_{depth}")] = lengths
        elif isinstance(value, tf.SparseTensor):
            parts = {
                f"{name}_indices": value.indices,
                f"{name}_values": value.values,
                f"{name}_dense_shape": value.dense_shape,
            }
        else:
            raise InvalidRequest(f"output {name!r} is of {type(value).__name__}, which no answer has a form for")
        taken = [part for part in parts if part in found or (part != name and part in outputs)]
        if taken:
            raise InvalidRequest(
                f"output {name!r} has the part {taken[0]!r}, which another output is called; rename one"
            )
        found.update(parts)
    return found
