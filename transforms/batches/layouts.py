"""How features of a data set stand in its Arrow batches, and what TensorFlow's tracer is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow_transform import impl_helper

from engine.core.errors import ConfigError
from transforms.batches.placeholders import FeatureLayout

__all__ = ["layouts_of", "type_specs_of"]


def type_specs_of(feature_spec: Mapping[str, Any]) -> dict[str, tf.TypeSpec]:
    """Returns the batched type spec of each feature, as TFT hands them to a preprocessing_fn."""
    return impl_helper.get_type_specs_from_feature_specs(dict(feature_spec))


def layouts_of(feature_spec: Mapping[str, Any]) -> dict[str, FeatureLayout]:
    """Returns the layout of each feature.

    Raises:
        ConfigError: for a kind of feature that TFT cannot take.
    """
    return {name: _layout(name, feature) for name, feature in feature_spec.items()}


def _layout(name: str, feature: Any) -> FeatureLayout:
    dtype = "object" if feature.dtype == tf.string else feature.dtype.as_numpy_dtype.__name__
    if isinstance(feature, tf.io.FixedLenFeature):
        return FeatureLayout(name=name, kind="dense", dtype=dtype, shape=tuple(feature.shape))
    if isinstance(feature, tf.io.VarLenFeature):
        return FeatureLayout(name=name, kind="sparse", dtype=dtype)
    if isinstance(feature, tf.io.SparseFeature):
        keys = (feature.index_key,) if isinstance(feature.index_key, str) else tuple(feature.index_key)
        sizes = (feature.size,) if isinstance(feature.size, int) else tuple(feature.size)
        return FeatureLayout(
            name=name, kind="coordinates", dtype=dtype, shape=sizes, column=feature.value_key, index_columns=keys
        )
    if isinstance(feature, tf.io.RaggedFeature):
        return FeatureLayout(
            name=name,
            kind="ragged",
            dtype=dtype,
            splits_dtype=feature.row_splits_dtype.as_numpy_dtype.__name__,
            column=feature.value_key or name,
            partitions=tuple(_partition(name, each) for each in feature.partitions),
        )
    raise ConfigError(f"feature {name!r} is a {type(feature).__name__}, which TFT does not take")


def _partition(name: str, partition: Any) -> str | int:
    if isinstance(partition, tf.io.RaggedFeature.UniformRowLength):
        return int(partition.length)
    if isinstance(partition, tf.io.RaggedFeature.RowLengths):
        return partition.key
    raise ConfigError(
        f"ragged feature {name!r} has a partition {partition!r}; TFT takes RowLengths and UniformRowLength"
    )
