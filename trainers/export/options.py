"""What a model is exported with: the transform graph and the features it was trained on, and what its card says."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from engine.schema.schema_proto import as_feature_spec

__all__ = ["ExportOptions"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What belongs to an exported model beside its weights.

    Args:
        transform_graph: directory of TFT's output that the training data was transformed with, or None where the model
            was trained on raw features.
        raw_feature_spec: `tf.io` features of the raw examples, e.g. `dataset.feature_spec()`, or a Schema of TensorFlow Metadata
            or the path of its `schema.pbtxt`. Without it the transform graph says which features it takes (without default values).
        label: names of the (transformed) labels, which no request needs.
        features: names of the features that the model takes; None for all except the labels. A request needs only those
            that an answer depends on.
        pad: `TrainerConfig.pad` of the training.
        data_manifest: `dataset.manifest` of the training data, or a text that identifies it.
        config: settings of the training, for the card.
        metrics: metrics of the model, for the card.
        samples: a few serialized raw tf.Examples, with what the label is made of: warm-up requests and the golden set are
            written of them.
        checkpoint: "path", "step" and "sha256", as far as they are known, of the checkpoint that the weights are of, for the card.

    Raises:
        DataError: `raw_feature_spec` is a path of something else than a Schema.
    """

    transform_graph: str | os.PathLike[str] | None = None
    raw_feature_spec: Mapping[str, Any] | None = None
    label: str | Sequence[str] = ()
    features: Sequence[str] | None = None
    pad: Mapping[str, Any] | None = None
    data_manifest: Any = None
    config: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] | None = None
    samples: Sequence[bytes] = ()
    checkpoint: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "raw_feature_spec", as_feature_spec(self.raw_feature_spec))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels."""
        return (self.label,) if isinstance(self.label, str) else tuple(self.label)
