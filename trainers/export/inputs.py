"""What a served model is asked with: which raw features it needs, and how each travels as plain tensors."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from engine.core.errors import ConfigError
from trainers.export.feature_names import LENGTHS_SUFFIX

__all__ = [
    "batch_features",
    "batch_signature",
    "blank_feature",
    "can_be_blank",
    "feature_tensor_spec",
    "raw_spec_of_transform",
    "required_inputs",
    "row_lengths_name",
    "tensor_names",
]

# TensorFlow sanitises or refuses any other argument name of a signature; a client would look for the feature's own.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def row_lengths_name(feature: str) -> str:
    """Returns the name of the tensor that says how many values of a list feature belong to each row."""
    return feature + LENGTHS_SUFFIX


def tensor_names(features: Iterable[str]) -> dict[str, str]:
    """Returns feature name to the name of its tensor in a signature.

    It is the feature's own where TensorFlow takes that (letters of ASCII, digits, `_`, a letter first). Else it is made of
    what it takes of it ("citric acid" becomes "citric_acid"), with a number where that name is another feature's already.
    """
    names = {name: name for name in features if _PLAIN.fullmatch(name)}
    taken = {*names.values(), *map(row_lengths_name, names.values())}
    for name in sorted(set(features) - set(names)):
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
        plain = plain if plain[:1].isalpha() else "f" + plain
        free = next(
            one
            for one in itertools.chain([plain], (f"{plain}_{i}" for i in itertools.count(2)))
            if one not in taken and row_lengths_name(one) not in taken
        )
        names[name] = free
        taken |= {free, row_lengths_name(free)}
    return names


def batch_signature(feature_spec: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, tf.TensorSpec]:
    """Returns the plain tensors that carry a batch of n rows of such features.

    A signature holds dense tensors only. So a fixed feature is one tensor [n, *shape]; a feature of any number of values
    (none, where the value is missing) is two: its values one row after the other [v], and how many each row has [n].

    Args:
        feature_spec: feature name to `tf.io.FixedLenFeature`, `VarLenFeature`, or `RaggedFeature` without partitions.
        names: of `tensor_names`.

    Raises:
        ConfigError: a kind of feature that two dense tensors cannot carry.
    """
    signature: dict[str, tf.TensorSpec] = {}
    for feature_name, feature in sorted(feature_spec.items()):
        name = names[feature_name]
        if isinstance(feature, tf.io.FixedLenFeature):
            signature[name] = tf.TensorSpec([None, *feature.shape], feature.dtype, name)
        elif _is_list(feature):
            signature[name] = tf.TensorSpec([None], feature.dtype, name)
            lengths = row_lengths_name(name)
            signature[lengths] = tf.TensorSpec([None], tf.int64, lengths)
        else:
            raise ConfigError(
                f"feature {feature_name!r} is a {type(feature).__name__}: a batch signature takes fixed and list features"
            )
    return signature


def batch_features(
    tensors: Mapping[str, Any], feature_spec: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, Any]:
    """Returns features as `tf.io.parse_example` gives them from the tensors of `batch_signature`."""
    features: dict[str, Any] = {}
    for name, feature in feature_spec.items():
        if isinstance(feature, tf.io.FixedLenFeature):
            features[name] = tensors[names[name]]
            continue
        rows = tf.RaggedTensor.from_row_lengths(tensors[names[name]], tensors[row_lengths_name(names[name])])
        features[name] = rows if isinstance(feature, tf.io.RaggedFeature) else rows.to_sparse()
    return features


def can_be_blank(feature: Any) -> bool:
    """Returns whether `blank_feature` knows this kind."""
    return isinstance(feature, tf.io.FixedLenFeature) or _is_list(feature)


def blank_feature(feature: Any, rows: Any) -> Any:
    """Returns zeros or empty texts for `rows` (scalar int32 tensor) rows of a feature; lists have one value each.

    Raises:
        ConfigError: another kind than a fixed or list feature.
    """
    if not can_be_blank(feature):
        raise ConfigError(f"no zeros are known for a {type(feature).__name__}: only fixed and list features have some")
    fixed = isinstance(feature, tf.io.FixedLenFeature)
    shape = tf.concat([[rows], tf.constant([*feature.shape] if fixed else [1], tf.int32)], 0)
    dense = tf.fill(shape, "" if feature.dtype == tf.string else tf.zeros([], feature.dtype))
    if fixed:
        return tf.ensure_shape(dense, [None, *feature.shape])
    ragged = tf.RaggedTensor.from_tensor(dense)
    return ragged if isinstance(feature, tf.io.RaggedFeature) else ragged.to_sparse()


def feature_tensor_spec(feature: Any) -> Any:
    """Returns the type spec of a batch of a feature as `tf.io.parse_example` gives it."""
    if isinstance(feature, tf.io.FixedLenFeature):
        return tf.TensorSpec([None, *feature.shape], feature.dtype)
    if isinstance(feature, tf.io.FixedLenSequenceFeature):
        return tf.TensorSpec([None, None, *feature.shape], feature.dtype)
    if isinstance(feature, tf.io.RaggedFeature):
        rank = 1 + len(feature.partitions)
        shape = [None] * (1 + rank)
        return tf.RaggedTensorSpec(shape, feature.dtype, rank, row_splits_dtype=feature.row_splits_dtype)
    size = feature.size if isinstance(feature, tf.io.SparseFeature) else None
    return tf.SparseTensorSpec([None, *(size if isinstance(size, list | tuple) else [size])], feature.dtype)


def required_inputs(function: Any, outputs: Iterable[str]) -> set[str]:
    """Returns the names of a function's inputs that the named outputs depend on.

    Args:
        function: a concrete function of one dict, whose result is a dict.
        outputs: keys of that result.
    """
    owner = {id(tensor.op): name for name, tensors in _input_tensors(function).items() for tensor in tensors}
    results = tf.nest.pack_sequence_as(
        function.graph.structured_outputs, function.graph.outputs, expand_composites=True
    )
    waiting = [t.op for key in outputs for t in tf.nest.flatten(results[key], expand_composites=True)]
    seen, found = set(), set()
    while waiting:
        operation = waiting.pop()
        if id(operation) in seen:
            continue
        seen.add(id(operation))
        if id(operation) in owner:
            found.add(owner[id(operation)])
        waiting.extend(tensor.op for tensor in operation.inputs)
    return found


def raw_spec_of_transform(function: Any) -> dict[str, Any]:
    """Returns the feature spec that a transform graph takes, read from its own signature.

    The graph keeps no default values: the features of the result have none.
    """
    spec: dict[str, Any] = {}
    for name, part in _structured_inputs(function).items():
        if isinstance(part, tf.SparseTensorSpec):
            spec[name] = tf.io.VarLenFeature(part.dtype)
        elif isinstance(part, tf.RaggedTensorSpec):
            spec[name] = tf.io.RaggedFeature(part.dtype)
        else:
            spec[name] = tf.io.FixedLenFeature(part.shape[1:].as_list(), part.dtype)
    return spec


def _structured_inputs(function: Any) -> dict[str, Any]:
    inputs: dict[str, Any]
    (inputs,), _ = function.structured_input_signature
    return inputs


def _input_tensors(function: Any) -> dict[str, Sequence[Any]]:
    inputs = _structured_inputs(function)
    flat = tf.nest.flatten(inputs, expand_composites=True)
    tensors = tf.nest.pack_sequence_as(inputs, function.graph.inputs[: len(flat)], expand_composites=True)
    return {name: tf.nest.flatten(value, expand_composites=True) for name, value in tensors.items()}


def _is_list(feature: Any) -> bool:
    return isinstance(feature, tf.io.VarLenFeature) or (
        isinstance(feature, tf.io.RaggedFeature) and not feature.partitions
    )
