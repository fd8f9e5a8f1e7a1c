"""Evaluators of TFT's combine operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from engine.core.errors import ConfigError

__all__ = ["combine_merge", "extract_outputs", "format_keys", "format_large", "per_key_merge", "scale_and_flatten"]


def combine_merge(operation: Any, inputs: Sequence[Any], context: Any) -> tuple[Any, ...]:
    """Returns the combiner's outputs: the accumulator's `finish` has given them already."""
    return (inputs[0],)


def extract_outputs(operation: Any, inputs: Sequence[Any], context: Any) -> tuple[Any, ...]:
    """Returns each output of a combiner by itself.

    Raises:
        ValueError: the accumulator gave another number of results than the operation has outputs.
    """
    outputs = tuple(inputs[0])
    if len(outputs) != operation.num_outputs:
        raise ValueError(f"{operation.label} has {operation.num_outputs} outputs, its accumulator gave {len(outputs)}")
    return outputs


def per_key_merge(operation: Any, inputs: Sequence[Any], context: Any) -> tuple[Any, ...]:
    """Returns (key, outputs) pairs as the accumulator's `finish` gave them."""
    return (inputs[0],)


def format_keys(operation: Any, inputs: Sequence[Any], context: Any) -> tuple[Any, ...]:
    """Returns the keys in ascending order, then one array an output of the combiner."""
    infos = operation.combiner.output_tensor_infos()
    pairs = sorted(inputs[0], key=lambda pair: pair[0])
    keys = np.array([key for key, _ in pairs], dtype=tf.string.as_numpy_dtype)
    columns: list[Any] = list(zip(*(outputs for _, outputs in pairs))) if pairs else [[]] * len(infos)
    arrays = (np.array(list(column), dtype=info.dtype.as_numpy_dtype) for column, info in zip(columns, infos))
    return (keys, *arrays)


def format_large(operation: Any, inputs: Sequence[Any], context: Any) -> tuple[Any, ...]:
    """Returns (text of the outputs, key) pairs, as they go to the file of a per-key mapping."""
    text = tf.compat.as_str_any
    return ([(text(",".join(map(text, outputs))), key) for key, outputs in inputs[0]],)


def scale_and_flatten(operation: Any, inputs: Sequence[Any], context: Any) -> tuple[Any, ...]:
    """Returns per-key boundaries joined to one array, with each key's scale and shift, and the number of buckets.

    Raises:
        ConfigError: there is no key.
    """
    from transforms.tft.beam_impl import join_boundary_rows  # imports Beam

    if not len(inputs[0]):
        raise ConfigError(
            "bucketize_per_key: the data set has no key, so there are no boundaries (TFT cannot make such a graph either); "
            "analyze a data set with records"
        )
    return tuple(join_boundary_rows(inputs[0]))
