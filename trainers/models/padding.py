"""List columns as dense tensors of few lengths: padded, cut, with a mask; the same in training, evaluation and export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from engine.core.errors import ConfigError
from trainers.config.padding import PadList

__all__ = ["mask_name", "pad_lists"]


def mask_name(feature: str) -> str:
    """Returns the name of the feature that says which values of a padded list are its own."""
    return feature + "_mask"


def pad_lists(features: Mapping[str, Any], settings: Mapping[str, PadList]) -> dict[str, Any]:
    """Returns features whose named lists are dense.

    Args:
        features: name to tensor; the lists are SparseTensor [b, any] or RaggedTensor [b, None].
        settings: list feature to its padding; those that are not among the features are passed over.

    Returns:
        The features with [b, length] in the place of each named list, and bool [b, length] under `mask_name`. With buckets
        the length is the smallest bucket that holds the longest list of the batch.

    Raises:
        ConfigError: a feature that is not a list, or whose mask would hide another feature.
    """
    out = dict(features)
    for name, setting in settings.items():
        if name not in features:
            continue
        if mask_name(name) in features:
            raise ConfigError(f"pad: the mask of {name!r} would hide the feature {mask_name(name)!r}; rename that one")
        out[name], out[mask_name(name)] = _padded(name, features[name], setting)
    return out


def _padded(name: str, lists: Any, setting: PadList) -> tuple[Any, Any]:
    if isinstance(lists, tf.SparseTensor):
        lists = tf.RaggedTensor.from_sparse(lists)
    if not isinstance(lists, tf.RaggedTensor) or lists.ragged_rank != 1:
        raise ConfigError(f"pad: feature {name!r} is not a list column of scalars; only those are padded")
    if setting.keep == "last":
        lists = lists[:, -setting.length :]
    length = _bucket(lists, setting)
    dense = lists.to_tensor(tf.cast(_value(lists, setting), lists.dtype), shape=[None, length])
    mask = tf.sequence_mask(tf.minimum(lists.row_lengths(), tf.cast(tf.shape(dense)[1], tf.int64)), tf.shape(dense)[1])
    if not setting.buckets:
        mask = tf.ensure_shape(mask, [None, setting.length])
    return dense, mask


def _value(lists: Any, setting: PadList) -> Any:
    return str(setting.value or "") if lists.dtype == tf.string else setting.value


def _bucket(lists: Any, setting: PadList) -> Any:
    if not setting.buckets:
        return setting.length
    lengths = tf.constant(sorted({*setting.buckets, setting.length}), tf.int64)
    longest = tf.minimum(tf.reduce_max(tf.concat([lists.row_lengths(), [0]], 0)), setting.length)
    return tf.gather(lengths, tf.reduce_sum(tf.cast(lengths < longest, tf.int32)))
