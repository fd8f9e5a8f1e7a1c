"""The context that build_model is called with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ModelContext"]


@dataclass(frozen=True, kw_only=True)
class ModelContext:
    """What a `build_model(context)` needs to know.

    Args:
        feature_spec: parsing specification of the transformed features by name, without label and weight.
        label_spec: the same of the labels.
        transform_output: a `tft.TFTransformOutput`, e.g. for vocabulary sizes, or None where nothing was transformed.
        hyperparameters: as the configuration has them.
        steps: optimizer steps of the whole training, e.g. for a schedule; None where it is not known.
        pad: list feature to its padding, as the configuration has it; such a feature comes dense, beside NAME_mask.
    """

    feature_spec: Mapping[str, Any]
    label_spec: Mapping[str, Any] = field(default_factory=dict)
    transform_output: Any = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    pad: Mapping[str, Any] = field(default_factory=dict)
