"""Writing of TFT's output: the transform graph with all analyzers' results in it, and the transformed metadata."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

from tensorflow_transform import impl_helper
from tensorflow_transform.tf_metadata import metadata_io

from engine.atomic import atomic_directory
from transforms.analyzing import Analysis

__all__ = ["write_transform_fn", "write_transform_output"]

_ASSET_MAP = "asset_map"  # beside the schema, as TFT writes it


def write_transform_fn(analysis: Analysis, path: str, save_options: Any = None) -> None:
    """Writes the SavedModel of the transformation, with the metadata in a subdirectory as TFT has it.

    Args:
        analysis: a finished one.
        path: directory that does not exist yet.
        save_options: `tf.saved_model.SaveOptions` or None.
    """
    trace = analysis.trace
    impl_helper.trace_and_write_v2_saved_model(
        path,
        trace.preprocessing_fn,
        trace.specs,
        trace.temp_dir,
        trace.fingerprint,
        analysis.replacements(),
        {},
        save_options,
    )


def write_transform_output(analysis: Analysis, out: str) -> None:
    """Writes `transform_fn/` and `transformed_metadata/` so that `tft.TFTransformOutput(out)` reads them.

    The directory appears whole or not at all; one that exists is replaced.

    Args:
        analysis: a finished one.
        out: local directory.
    """
    model = os.path.join(analysis.trace.temp_dir, "transform_fn")
    write_transform_fn(analysis, model)
    metadata = metadata_io.read_metadata(os.path.join(model, impl_helper.METADATA_DIR_NAME))
    with atomic_directory(out) as temporary:
        shutil.move(model, temporary / "transform_fn")
        metadata_dir = str(temporary / "transformed_metadata")
        metadata_io.write_metadata(metadata, metadata_dir)
        if analysis.trace.asset_map:
            (temporary / "transformed_metadata" / _ASSET_MAP).write_text(json.dumps(dict(analysis.trace.asset_map)))
