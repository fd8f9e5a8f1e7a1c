"""How features of a data set are laid out in its Arrow batches, and what TensorFlow's tracer gets to know of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow_transform import impl_helper

from engine.core.errors import ConfigError
from transforms.batches.placeholders import FeatureLayout

__all__ = ["columns_of", "layouts_of", "type_specs_of"]


def type_specs_of(feature_spec: Mapping[str, Any]) -> dict[str, tf.TypeSpec]:
    """Returns the batched type spec of each feature, as TFT hands them to a preprocessing_fn."""
    listed = {name: _with_listed_sizes(feature) for name, feature in feature_spec.items()}
    specs: dict[str, tf.TypeSpec] = impl_helper.get_type_specs_from_feature_specs(listed)
    return specs


def _with_listed_sizes(feature: Any) -> Any:
    """TensorFlow takes one key and one size of a SparseFeature as they are; TFT wants lists."""
    if not isinstance(feature, tf.io.SparseFeature):
        return feature
    keys, sizes = _index_keys(feature), _index_sizes(feature)
    return tf.io.SparseFeature(keys, feature.value_key, feature.dtype, sizes, feature.already_sorted)


def _index_keys(feature: Any) -> list[str]:
    return [feature.index_key] if isinstance(feature.index_key, str) else list(feature.index_key)


def _index_sizes(feature: Any) -> list[int]:
    return list(feature.size) if isinstance(feature.size, (list, tuple)) else [int(feature.size)]


def layouts_of(feature_spec: Mapping[str, Any]) -> dict[str, FeatureLayout]:
    """Returns the layout of each feature.

    Raises:
        ConfigError: for a kind of feature that TFT cannot take.
    """
    return {name: _layout(name, feature) for name, feature in feature_spec.items()}


def columns_of(layouts: Mapping[str, FeatureLayout]) -> tuple[str, ...]:
    """Returns the columns that features lie in, each once."""
    return tuple(dict.fromkeys(column for layout in layouts.values() for column in layout.columns))


def _layout(name: str, feature: Any) -> FeatureLayout:
    dtype = "object" if feature.dtype == tf.string else feature.dtype.as_numpy_dtype.__name__
    if isinstance(feature, tf.io.FixedLenFeature):
        return FeatureLayout(name=name, kind="dense", dtype=dtype, shape=tuple(feature.shape))
    if isinstance(feature, tf.io.VarLenFeature):
        return FeatureLayout(name=name, kind="sparse", dtype=dtype)
    if isinstance(feature, tf.io.SparseFeature):
        return FeatureLayout(
            name=name,
            kind="coordinates",
            dtype=dtype,
            shape=tuple(_index_sizes(feature)),
            column=feature.value_key,
            index_columns=tuple(_index_keys(feature)),
        )
    if isinstance(feature, tf.io.RaggedFeature):
        return FeatureLayout(
            name=name,
            kind="ragged",
            dtype=dtype,
            splits_dtype=feature.row_splits_dtype.as_numpy_dtype.__name__,
            column=feature.value_key or name,
            partitions=_partitions(name, feature),
        )
    raise ConfigError(f"feature {name!r} is a {type(feature).__name__}, which TFT does not take")


def _partitions(name: str, feature: Any) -> tuple[str | int, ...]:
    partitions = tuple(_partition(name, each) for each in feature.partitions)
    if any(isinstance(outer, int) and isinstance(inner, str) for outer, inner in itertools.pairwise(partitions)):
        raise ConfigError(
            f"ragged feature {name!r} has a UniformRowLength before RowLengths, which TFT does not take: list it last"
        )
    return partitions


def _partition(name: str, partition: Any) -> str | int:
    if isinstance(partition, tf.io.RaggedFeature.UniformRowLength):
        return int(partition.length)
    if isinstance(partition, tf.io.RaggedFeature.RowLengths):
        return str(partition.key)
    raise ConfigError(
        f"ragged feature {name!r} has a partition {partition!r}; TFT takes RowLengths and UniformRowLength"
    )
