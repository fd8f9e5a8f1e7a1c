"""From the features of a batch to what a loss takes: features, labels, weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from engine.core.errors import ConfigError
from trainers.config.config import TrainerConfig
from trainers.data.whole_classes import with_whole_classes

__all__ = ["row_count", "rows_of_part", "rows_where", "split_example", "zeros_like_spec"]


def split_example(
    batch: Mapping[str, Any], config: TrainerConfig, training: bool = True, of_classes: Sequence[str] = ()
) -> tuple[dict[str, Any], Any, Any]:
    """Returns (features, labels, weights) of one replica's examples.

    Labels are a tensor for one label, a dict by name for several, None for none. Weights are float32 [b] or None: the
    product of the weight feature, the class weight of the label (in training only, as in Keras) and 0 for padding, whose rows are
    those of a record.

    `of_classes` names labels that are numbers of classes: the step fails for a fraction among them.

    Raises:
        ConfigError: the data has no such label or weight.
    """
    features = dict(batch)
    mask = features.pop("mask", None)
    features.pop("record_ids", None)
    if mask is not None:
        features = _filled(mask, features)
    labels = {name: _take(features, name, "label") for name in config.labels}
    labels |= {name: with_whole_classes(name, labels[name]) for name in of_classes if name in labels}
    weights = None if config.weight is None else _flat_weight(_take(features, config.weight, "weight"))
    target: Any = labels if len(labels) != 1 else next(iter(labels.values()))
    if training and config.class_weights is not None:
        by_class = _flat_weight(_class_weights(config, tf.convert_to_tensor(target)))
        weights = by_class if weights is None else weights * by_class
    if mask is not None:
        valid = tf.cast(mask, tf.float32)
        weights = valid if weights is None else weights * valid
    return features, target if labels else None, weights


def _take(features: dict[str, Any], name: str, role: str) -> Any:
    if name not in features:
        raise ConfigError(f"{role} {name!r} not found; the data has {', '.join(sorted(features))}")
    return features.pop(name)


def _flat_weight(weight: Any) -> Any:
    return tf.cast(tf.reshape(weight, [-1]), tf.float32)


def _class_weights(config: TrainerConfig, label: Any) -> Any:
    table = [1.0] * (1 + max(int(k) for k in config.class_weights or {}))
    for key, value in (config.class_weights or {}).items():
        table[int(key)] = float(value)
    if label.shape.rank == 2 and label.shape[1] not in (None, 1):
        label = tf.argmax(label, 1)  # one column a class, as Keras takes it
    label = tf.reshape(label, [-1])
    label = tf.cast(tf.round(label) if label.dtype.is_floating else label, tf.int32)  # of soft labels the nearer class
    known = (label >= 0) & (label < len(table))
    return tf.where(known, tf.gather(tf.constant(table), tf.where(known, label, 0)), 1.0)


def zeros_like_spec(spec: Any) -> Any:
    """Returns a batch of zeros of a dataset's element_spec; a list has one value: recurrent layers take no empty one."""

    def zeros(part: Any) -> Any:
        if isinstance(part, tf.RaggedTensorSpec):
            rows = part.shape[0] or 1
            return tf.RaggedTensor.from_row_lengths(blank([rows], part.dtype), tf.ones([rows], tf.int64))
        return blank([1 if size is None else size for size in part.shape], part.dtype)

    def blank(shape: list[int], dtype: Any) -> Any:
        return tf.fill(shape, "") if dtype == tf.string else tf.zeros(shape, dtype)

    return tf.nest.map_structure(zeros, spec)


def rows_where(mask: Any, values: Any) -> Any:
    """Returns the nested tensors [b, ...] without the rows where the mask, bool [b], is False; all rows without a mask."""
    if mask is None:
        return values
    parts = tf.nest.flatten(values)
    dense = [
        i
        for i, part in enumerate(parts)
        if part is not None and not isinstance(part, tf.SparseTensor | tf.RaggedTensor)
    ]
    for i in set(range(len(parts))).difference(dense):
        parts[i] = None if parts[i] is None else _masked(parts[i], mask)
    if dense:  # most batches have no padding, and need no copy
        whole = [parts[i] for i in dense]
        kept = tf.cond(tf.reduce_all(mask), lambda: whole, lambda: [tf.boolean_mask(each, mask) for each in whole])
        for i, part in zip(dense, kept, strict=True):
            parts[i] = part
    return tf.nest.pack_sequence_as(values, parts)


def _filled(mask: Any, values: Any) -> Any:
    """Returns the nested tensors [b, ...] with their first row of data in the place of those where the mask, bool [b], is False.

    A model can compute with any row of the data. With zeros, an empty text or an empty list it may make what is no number, which a
    weight of 0 does not take away.
    """
    first = tf.argmax(tf.cast(mask, tf.int32), output_type=tf.int32)  # 0 where all is padding
    rows = tf.where(mask, tf.range(tf.size(mask)), first)
    return tf.nest.map_structure(lambda t: None if t is None else _rows_at(rows, t), values)


def _rows_at(rows: Any, tensor: Any) -> Any:
    if not isinstance(tensor, tf.SparseTensor):
        return tf.gather(tensor, rows)
    places = tf.RaggedTensor.from_value_rowids(
        tf.range(tf.size(tensor.values)), tensor.indices[:, 0], nrows=tensor.dense_shape[0], validate=False
    )
    taken = tf.gather(places, rows)
    indices = tf.concat([taken.value_rowids()[:, None], tf.gather(tensor.indices, taken.flat_values)[:, 1:]], 1)
    return tf.SparseTensor(indices, tf.gather(tensor.values, taken.flat_values), tensor.dense_shape)


def _masked(tensor: Any, mask: Any) -> Any:
    if isinstance(tensor, tf.RaggedTensor):
        return tf.ragged.boolean_mask(tensor, mask)
    kept = tf.sparse.retain(tensor, tf.gather(mask, tensor.indices[:, 0]))
    numbers = tf.cumsum(tf.cast(mask, tf.int64)) - 1  # of the rows that stay
    rows = tf.gather(numbers, kept.indices[:, :1])
    count = tf.math.count_nonzero(mask, keepdims=True)
    indices = tf.concat([rows, kept.indices[:, 1:]], 1)
    return tf.SparseTensor(indices, kept.values, tf.concat([count, tensor.dense_shape[1:]], 0))


def row_count(value: Any) -> Any:
    """Returns how many rows a dense, sparse or ragged tensor has, a scalar int32."""
    if isinstance(value, tf.RaggedTensor):
        return tf.cast(value.nrows(), tf.int32)
    return tf.cast(value.dense_shape[0], tf.int32) if isinstance(value, tf.SparseTensor) else tf.shape(value)[0]


def rows_of_part(tensor: Any, part: Any, parts: int) -> Any:
    """Returns the rows of one of `parts` equal parts of a tensor [b, ...], of whichever kind; None for None."""
    if tensor is None:
        return None
    static = tensor.shape[0]
    size = (row_count(tensor) if static is None else static) // parts
    if isinstance(tensor, tf.SparseTensor):
        first = tf.cast(part * size, tf.int64)
        rest = tensor.dense_shape[1:]
        start = tf.concat([[first], tf.zeros_like(rest)], 0)
        return tf.sparse.slice(tensor, start, tf.concat([[tf.cast(size, tf.int64)], rest], 0))
    piece = tensor[part * size : (part + 1) * size]
    if static is not None and not isinstance(piece, tf.RaggedTensor):
        piece.set_shape([size, *tensor.shape[1:]])
    return piece
