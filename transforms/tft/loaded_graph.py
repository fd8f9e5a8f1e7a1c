"""A loaded transform graph from the inside: what it takes, and which outputs it can give without some of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

from transforms.tft.versions import private, require

__all__ = ["inputs_of", "outputs_without"]

require(SavedModelLoader, "_get_feeds", "_get_fetches_keys", "apply_transform_model")


def inputs_of(loader: SavedModelLoader) -> dict[str, Any]:
    """Returns the placeholders of a loaded transform graph by feature."""
    return dict(private(loader, "_structured_inputs"))


def outputs_without(loader: SavedModelLoader, missing: Iterable[str]) -> set[str]:
    """Returns the outputs that can be had without some features; all of them where TensorFlow 1 wrote the graph."""
    if loader.load_v2_in_compat:
        return set(loader.structured_outputs)
    return set(loader._get_fetches_keys(loader._get_feeds(list(missing))))
