"""Features that several columns make up, put together as tf.io.parse_example gives them. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import tensorflow as tf

from engine.core.errors import ConfigError
from engine.feed.tensorflow.partitions import partitioned
from engine.schema.metadata_keys import feature_descriptions

__all__ = ["assemble"]


def assemble(schema: pa.Schema, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Returns tensors by feature name, `SparseFeature` and `RaggedFeature` made of the columns that hold their parts.

    Args:
        schema: of the data set, which says what features its columns make up.
        tensors: by column name, as `Feed.unpack` gives them; all columns of a feature, or none of them.

    Returns:
        Sparse features as SparseTensor [batch, *size], sorted unless the feature says that they are; ragged ones under
        their feature's name; every other tensor as it is.

    Raises:
        ConfigError: a column of a feature is missing.
        tf.errors.InvalidArgumentError: a record whose indices and values differ in number, or whose partitions do not fit.
    """
    descriptions: list[dict[str, Any]] = []
    for field in schema:
        descriptions += [d for d in feature_descriptions(field) if d not in descriptions]
    out = dict(tensors)
    parts: set[str] = set()
    kept = set()
    for description in descriptions:
        if description["kind"] not in ("sparse", "ragged"):
            kept.add(description["name"])
            continue
        cuts = [p["key"] for p in description.get("partitions", ()) if "key" in p]
        keys = [*description.get("index_key", ()), description["value_key"], *cuts]
        missing = [key for key in keys if key not in tensors]
        if len(missing) == len(keys):
            continue
        if missing:
            raise ConfigError(
                f"feature {description['name']!r} needs column {missing[0]!r}, which `columns` leaves out"
            )
        values = tensors[description["value_key"]]
        parts.update(keys)
        kept.add(description["name"])
        if description["kind"] == "sparse":
            values = _sparse(
                description, [_as_sparse(tensors[key]) for key in description["index_key"]], _as_sparse(values)
            )
        else:
            rows = partitioned(description, _as_ragged(values), {key: _as_ragged(tensors[key]) for key in cuts})
            values = rows.with_row_splits_dtype(tf.as_dtype(description["row_splits_dtype"]))
        out[description["name"]] = values
    return {name: tensor for name, tensor in out.items() if name in kept or name not in parts}


def _as_sparse(column: tf.SparseTensor | tf.RaggedTensor) -> tf.SparseTensor:
    return column.to_sparse() if isinstance(column, tf.RaggedTensor) else column


def _as_ragged(column: tf.SparseTensor | tf.RaggedTensor) -> tf.RaggedTensor:
    return tf.RaggedTensor.from_sparse(column) if isinstance(column, tf.SparseTensor) else column


def _sparse(description: Mapping[str, Any], index: list[tf.SparseTensor], values: tf.SparseTensor) -> tf.SparseTensor:
    checks = []
    for part in index:
        message = f"feature {description['name']!r}: indices and values differ in number"
        checks.append(tf.debugging.assert_equal(tf.shape(part.indices), tf.shape(values.indices), message))
        checks.append(tf.debugging.assert_equal(part.indices, values.indices, message))
    with tf.control_dependencies([check for check in checks if check is not None]):
        places = tf.stack([values.indices[:, 0], *(part.values for part in index)], axis=1)
    shape = tf.concat([values.dense_shape[:1], tf.constant(description["size"], tf.int64)], axis=0)
    made = tf.SparseTensor(places, values.values, shape)
    return made if description["already_sorted"] else tf.sparse.reorder(made)
