"""The part of the traced graph that a phase needs where it has tables and other resources: a SavedModel that TFT wrote for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transforms.batches.graph_strings import (
    Strings,
    eager_strings,
    eager_tensor,
)

__all__ = ["OpenSavedModel", "SavedModelFunction"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedModelFunction:
    """The same for graphs with tables and other resources: a SavedModel that TFT wrote for the phase.

    Attributes:
        path: directory of the SavedModel.
        feeds: (feature, component) of everything to feed.
        fetches: output keys.
        kinds: "dense", "sparse" or "ragged" of each feature.
    """

    path: str
    feeds: tuple[tuple[str, int], ...]
    fetches: tuple[str, ...]
    kinds: Mapping[str, str]

    def open(self) -> OpenSavedModel:
        """Returns the model loaded in this process. Imports TensorFlow."""
        return OpenSavedModel(self)


class OpenSavedModel:
    """A loaded SavedModel of a phase.

    Args:
        function: what to load.
    """

    def __init__(self, function: SavedModelFunction) -> None:
        from transforms.tft.loaded_transform import LoadedTransform

        self._function = function
        self._apply: Any = LoadedTransform(function.path)

    def __call__(self, feeds: Sequence[Any]) -> list[np.ndarray | Strings]:
        """Returns the fetched arrays for the fed ones; strings as `Strings`."""
        import tensorflow as tf

        arrays: dict[str, list[Any]] = {}
        for (feature, _), array in zip(self._function.feeds, feeds):
            arrays.setdefault(feature, []).append(array)
        inputs = {name: _rebuild(tf, parts, self._function.kinds[name]) for name, parts in arrays.items()}
        outputs = self._apply(inputs)
        return [eager_strings(outputs[key]) for key in self._function.fetches]

    def close(self) -> None:
        """Frees the model."""
        self._apply = None


def _rebuild(tf: Any, parts: list[Any], kind: str) -> Any:
    tensors = [eager_tensor(part) for part in parts]
    if kind == "sparse":
        return tf.SparseTensor(*tensors)
    if kind == "ragged":
        return tf.RaggedTensor.from_nested_row_splits(tensors[0], tensors[1:], validate=False)
    return tensors[0]
