"""A transform graph that is loaded once and called for each batch; what it takes, and which outputs it can give without some of it.

TFT's loader asks before every call which outputs the given inputs suffice for, comparing each output with all inputs and captured
results: of 800 columns that took ten times as long as the call. Where all inputs are given, all outputs come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf
from tensorflow_transform.saved import saved_transform_io_v2
from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

from transforms.tft.versions import private, require

__all__ = ["LoadedTransform", "inputs_of", "outputs_without"]

require(SavedModelLoader, "_get_feeds", "_get_fetches_keys", "apply_transform_model")


def inputs_of(loader: SavedModelLoader) -> dict[str, Any]:
    """Returns the placeholders of a loaded transform graph by feature."""
    return dict(private(loader, "_structured_inputs"))


def outputs_without(loader: SavedModelLoader, missing: Iterable[str]) -> set[str]:
    """Returns the outputs that can be had without some features; all of them where TensorFlow 1 wrote the graph."""
    if loader.load_v2_in_compat:
        return set(loader.structured_outputs)
    return set(loader._get_fetches_keys(loader._get_feeds(list(missing))))


class LoadedTransform:
    """A transform graph; may be called from several threads at once.

    Args:
        path: local directory of the SavedModel.

    Attributes:
        loader: TFT's.
    """

    def __init__(self, path: str) -> None:
        self.loader = saved_transform_io_v2.SavedModelLoader(path)
        self._function = None if self.loader.load_v2_in_compat else private(self.loader, "_wrapped_function")
        self._inputs = inputs_of(self.loader)

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the outputs by feature.

        Args:
            inputs: eager tensors by feature; where some are missing, outputs that need them are left out.
        """
        if self._function is None or inputs.keys() != self._inputs.keys():
            outputs: dict[str, Any] = self.loader.apply_transform_model(dict(inputs))
            return outputs
        given = tf.nest.flatten(dict(inputs), expand_composites=True)
        for tensor, wanted in zip(given, self._function.inputs):
            if not wanted.shape.is_compatible_with(tensor.shape):
                raise ValueError(f"{wanted.name} takes a tensor of shape {wanted.shape}, got {tensor.shape}")
        computed: dict[str, Any] = self._function(*given)
        return computed
