"""Which tensor of a SavedModel's signatures carries which feature: a tensor's name is not always the feature's."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from engine.core.errors import DataError
from engine.core.json_text import parse_json

__all__ = ["LENGTHS_SUFFIX", "read_feature_names", "write_feature_names"]

_FILE = "assets.extra/feature_names.json"
_VERSION = 1

LENGTHS_SUFFIX = "_row_lengths"  # of the tensor with the number of values of each row


def write_feature_names(model: Path, tensors: Mapping[str, str]) -> None:
    """Writes feature name to tensor name beside a SavedModel."""
    path = model / _FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"version": _VERSION, "tensors": dict(tensors)}, indent=1, ensure_ascii=False), "utf-8")


def read_feature_names(model: str | os.PathLike[str]) -> dict[str, str]:
    """Returns tensor name to feature name; empty for a model that was written before names were, where both are the same.

    Raises:
        DataError: the file is of another version.
    """
    path = Path(model, _FILE)
    if not path.is_file():
        return {}
    try:
        stored = parse_json(path.read_text("utf-8"))
        version, tensors = stored.get("version"), stored.get("tensors")
    except (ValueError, AttributeError) as error:
        raise DataError(f"is damaged ({error}); export the model again", path=str(path)) from None
    if version != _VERSION:
        raise DataError(f"version {version!r}: this release reads version {_VERSION}", path=str(path))
    if not isinstance(tensors, dict) or not all(isinstance(tensor, str) for tensor in tensors.values()):
        raise DataError("is damaged (no names of tensors); export the model again", path=str(path))
    return {tensor: feature for feature, tensor in tensors.items()}
