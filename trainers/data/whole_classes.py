"""Numbers of classes are whole numbers: looked at in each batch, since not all of the data is read before the training."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

__all__ = ["FRACTION", "with_whole_classes"]

# How the error of a step begins, which has the label's name and then the value.
FRACTION = "the number of a class has a fraction: label"


def with_whole_classes(name: str, label: Any) -> Any:
    """Returns a label of a batch, which the step fails for where it is a fraction: a loss leaves out what follows the point.

    A program that XLA compiles looks at none.
    """
    values = label.values if isinstance(label, tf.SparseTensor) else label
    values = values.flat_values if isinstance(values, tf.RaggedTensor) else values
    if not values.dtype.is_floating:
        return label
    flat = tf.reshape(values, [-1])
    wrong = tf.boolean_mask(flat, tf.math.is_finite(flat) & (flat != tf.floor(flat)))
    fault = tf.debugging.Assert(tf.equal(tf.size(wrong), 0), [f"{FRACTION} <{name}> is", wrong[:1]])
    if fault is None:  # outside of a graph it has raised
        return label
    with tf.control_dependencies([fault]):
        return tf.nest.map_structure(tf.identity, label, expand_composites=True)
