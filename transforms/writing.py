"""Writing of TFT's output: the transform graph with all analyzers' results in it, and the transformed metadata."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping

import tensorflow as tf
from tensorflow_transform import impl_helper
from tensorflow_transform.tf_metadata import metadata_io

from engine.atomic import atomic_directory
from transforms.tracing import Trace

__all__ = ["write_transform_output"]

_ASSET_MAP = "asset_map"  # beside the schema, as TFT writes it


def write_transform_output(trace: Trace, known: Mapping[str, tf.Tensor], out: str) -> None:
    """Writes `transform_fn/` and `transformed_metadata/` so that `tft.TFTransformOutput(out)` reads them.

    The directory appears whole or not at all; one that exists is replaced.

    Args:
        trace: the traced function.
        known: results of all analyzers as constants by tensor name.
        out: local directory.
    """
    model = os.path.join(trace.temp_dir, "transform_fn")
    impl_helper.trace_and_write_v2_saved_model(
        model, trace.preprocessing_fn, trace.specs, trace.temp_dir, trace.fingerprint, dict(known), {}, None
    )
    metadata = metadata_io.read_metadata(os.path.join(model, impl_helper.METADATA_DIR_NAME))
    with atomic_directory(out) as temporary:
        shutil.move(model, temporary / "transform_fn")
        metadata_dir = str(temporary / "transformed_metadata")
        metadata_io.write_metadata(metadata, metadata_dir)
        if trace.asset_map:
            (temporary / "transformed_metadata" / _ASSET_MAP).write_text(json.dumps(dict(trace.asset_map)))
