"""SavedModels of phases whose graph has tables or other resources: TFT traces and writes them, as it always does."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from transforms.finishing.finish import Binding
from transforms.planning.saved_model_function import SavedModelFunction
from transforms.tft.impl import write_phase_graph
from transforms.tft.lean_reductions import lean_reductions

__all__ = ["replacements", "write_phase_model"]


def replacements(values: Mapping[str, Any], bindings: Sequence[Binding]) -> dict[str, tf.Tensor]:
    """Returns results as constants by tensor name, as TFT's tracing takes them."""
    dtypes = {binding.tensor: tf.dtypes.as_dtype(binding.dtype) for binding in bindings}
    with tf.init_scope():
        return {name: tf.constant(value, dtypes[name]) for name, value in values.items()}


def write_phase_model(
    preprocessing_fn: Callable[..., Any],
    specs: Mapping[str, tf.TypeSpec],
    temp_dir: str,
    known: Mapping[str, tf.Tensor],
    fetches: Sequence[str],
    number: int,
) -> SavedModelFunction:
    """Writes the SavedModel of a phase and returns how to run it.

    Args:
        preprocessing_fn: the user's.
        specs: of the inputs.
        temp_dir: existing directory.
        known: results of earlier phases.
        fetches: names of the wanted tensors.
        number: of the phase.
    """
    path = os.path.join(temp_dir, f"phase-{number}")
    keys = {f"fetch_{index}": name for index, name in enumerate(fetches)}
    with lean_reductions():
        write_phase_graph(path, preprocessing_fn, specs, temp_dir, known, keys)
    feeds = tuple((feature, index) for feature, spec in specs.items() for index in range(_components(spec)))
    kinds = {feature: _kind(spec) for feature, spec in specs.items()}
    return SavedModelFunction(path=path, feeds=feeds, fetches=tuple(keys), kinds=kinds)


def _components(spec: tf.TypeSpec) -> int:
    if isinstance(spec, tf.SparseTensorSpec):
        return 3
    return 1 + spec.ragged_rank if isinstance(spec, tf.RaggedTensorSpec) else 1


def _kind(spec: tf.TypeSpec) -> str:
    if isinstance(spec, tf.SparseTensorSpec):
        return "sparse"
    return "ragged" if isinstance(spec, tf.RaggedTensorSpec) else "dense"
