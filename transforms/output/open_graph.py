"""A transform graph opened for reading, wherever it lies: TFT's `TFTransformOutput`, and what it says of the raw data."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from engine.core.errors import ConfigError
from engine.storage.tree import for_tensorflow

__all__ = ["open_transform_graph", "stored_raw_spec"]


def open_transform_graph(graph: str | os.PathLike[str]) -> tft.TFTransformOutput:
    """Returns TFT's view of a transform graph; one in an object store is copied here for as long as this process lives.

    Args:
        graph: directory or URI that `analyze` wrote.

    Raises:
        ConfigError: there is no transform graph.
        DataError: the store did not answer.
    """
    here = for_tensorflow(graph)
    # TFT's object opens nothing before it is asked, and then fails with a path of its own.
    if not tf.io.gfile.exists(f"{here}/transform_fn/saved_model.pb"):
        raise ConfigError(
            f"{os.fspath(graph)} is not a transform graph (no transform_fn/saved_model.pb); create one with `fullpass analyze`"
        )
    return tft.TFTransformOutput(here)


def stored_raw_spec(output: tft.TFTransformOutput) -> dict[str, Any] | None:
    """Returns the feature spec of the raw data that a graph was made for; None where it does not say, as graphs of plain TFT."""
    try:
        spec: dict[str, Any] = output.raw_feature_spec()
        return spec
    except (OSError, tf.errors.NotFoundError):
        return None
