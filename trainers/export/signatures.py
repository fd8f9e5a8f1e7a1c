"""The object that becomes the SavedModel: transform graph and model behind signatures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from engine.core.errors import ConfigError, listed
from trainers.data.targets import row_count
from trainers.export.forward import ForwardPass
from trainers.export.inputs import (
    batch_features,
    batch_signature,
    blank_feature,
    can_be_blank,
    feature_tensor_spec,
    raw_spec_of_transform,
    required_inputs,
    tensor_names,
)
from trainers.export.options import ExportOptions

__all__ = ["ServedModel"]


@dataclasses.dataclass(frozen=True)
class _Specs:
    """Feature specs; a tf.Module would wrap and save plain dictionaries among its attributes.

    Args:
        full_raw: raw features that the transform graph takes.
        raw: those that an answer needs.
        transformed: what the transform graph gives; empty without one.
        model: what the model takes and its answer depends on.
        blank: what the model takes and its answer does not depend on: it is given zeros.
        names: feature name, raw or transformed, to the name of its tensor in a signature.
    """

    full_raw: dict[str, Any]
    raw: dict[str, Any]
    transformed: dict[str, Any]
    model: dict[str, Any]
    blank: dict[str, Any]
    names: dict[str, str]


class ServedModel(tf.Module):
    """A model that answers raw examples, with the transform graph of its training inside.

    Args:
        model: see `ForwardPass`.
        options: of the export: its transform graph, or None where the model takes raw features; features, label and pad.
    """

    def __init__(self, model: Any, options: ExportOptions) -> None:
        super().__init__(name="served_model")
        # Of the options nothing is kept: a tf.Module would wrap and save what it finds among its attributes.
        self.forward = ForwardPass(model, options.pad)
        if options.transform_graph is not None:
            self.transform_layer, self._specs = _with_graph(options, self._needed)
            return
        raw_feature_spec = options.raw_feature_spec
        if raw_feature_spec is None:
            raise ConfigError("export without a transform graph needs raw_feature_spec: the features of the examples")
        wanted = options.features or [name for name in raw_feature_spec if name not in options.labels]
        _check_known(wanted, raw_feature_spec, "the examples have no feature")
        spec = {name: raw_feature_spec[name] for name in wanted}
        needed, blank = self._needed(spec)
        self.transform_layer, self._specs = (
            None,
            _Specs(dict(raw_feature_spec), needed, {}, needed, blank, tensor_names(raw_feature_spec)),
        )

    def _needed(self, spec: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the features that the answer depends on, and the others."""
        signature = {name: feature_tensor_spec(feature) for name, feature in spec.items()}
        function = tf.function(lambda features: self.forward(features), autograph=False).get_concrete_function(
            signature
        )
        needed = required_inputs(function, function.structured_outputs) or set(list(spec)[:1])
        kept = {n: f for n, f in spec.items() if n in needed or not can_be_blank(f)}
        return kept, {n: f for n, f in spec.items() if n not in kept}

    def _forward(self, features: Mapping[str, Any]) -> dict[str, Any]:
        if not self._specs.blank:
            return self.forward(features)
        rows = row_count(next(iter(features.values())))
        return self.forward({**features, **{n: blank_feature(f, rows) for n, f in self._specs.blank.items()}})

    @property
    def raw_feature_spec(self) -> dict[str, Any]:
        """Features of the raw examples that an answer needs."""
        return dict(self._specs.raw)

    @property
    def full_raw_feature_spec(self) -> dict[str, Any]:
        """Features of the raw examples with those that only labels need."""
        return dict(self._specs.full_raw)

    @property
    def model_feature_spec(self) -> dict[str, Any]:
        """Features that the model itself takes."""
        return dict(self._specs.model)

    @property
    def tensor_names(self) -> dict[str, str]:
        """Feature name to the name of its tensor in the signatures of plain tensors."""
        return dict(self._specs.names)

    def signatures(self) -> dict[str, Any]:
        """Returns the concrete functions by signature name.

        serving_default: `examples`, string [n], serialized tf.Examples -> the model's outputs by name.
        raw_features: a batch of raw features as plain tensors (see `batch_signature`) -> the same.
        transformed_features: a batch of transformed features as plain tensors -> the same.
        transform_features: `examples` -> dense transformed features with the labels, for an evaluation that reads examples.
        transform_raw_features: a batch of all raw features as plain tensors -> the same.
        """
        examples, names = tf.TensorSpec([None], tf.string, "examples"), self._specs.names
        found = {"serving_default": tf.function(self._answer_examples, autograph=False).get_concrete_function(examples)}
        if _is_plain(self._specs.raw):
            signature = batch_signature(self._specs.raw, names)
            found["raw_features"] = _keyword_function(self._answer_raw, signature)
        if self.transform_layer is not None:
            if _is_plain(self._specs.model):
                found["transformed_features"] = _keyword_function(
                    self._answer_transformed, batch_signature(self._specs.model, names)
                )
            found["transform_features"] = tf.function(self._transform_examples, autograph=False).get_concrete_function(
                examples
            )
            if _is_plain(self._specs.full_raw):
                signature = batch_signature(self._specs.full_raw, names)
                found["transform_raw_features"] = _keyword_function(self._transform_raw, signature)
        return found

    def _answer_examples(self, examples: Any) -> dict[str, Any]:
        return self._answer(tf.io.parse_example(examples, self._specs.raw))

    def _answer_raw(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        return self._answer(batch_features(tensors, self._specs.raw, self._specs.names))

    def _answer_transformed(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        return self._forward(batch_features(tensors, self._specs.model, self._specs.names))

    def _answer(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        if self.transform_layer is None:
            return self._forward(raw)
        return self._forward(self._shaped(self.transform_layer(dict(raw)), self._specs.model))

    def _transform_examples(self, examples: Any) -> dict[str, Any]:
        return self._transformed(tf.io.parse_example(examples, self._specs.full_raw))

    def _transform_raw(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        return self._transformed(batch_features(tensors, self._specs.full_raw, self._specs.names))

    def _transformed(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        assert self.transform_layer is not None
        transformed = self.transform_layer(dict(raw))
        dense = {name: f for name, f in self._specs.transformed.items() if isinstance(f, tf.io.FixedLenFeature)}
        return self._shaped(transformed, dense)

    @staticmethod
    def _shaped(transformed: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
        # The graph often does not know the static shapes that the model was built with.
        result = {}
        for name, feature in spec.items():
            tensor = transformed[name]
            if isinstance(feature, tf.io.FixedLenFeature):
                tensor = tf.ensure_shape(tensor, [None, *feature.shape])
            result[name] = tensor
        return result


def _with_graph(
    options: ExportOptions, needed_of: Callable[[Mapping[str, Any]], tuple[dict[str, Any], dict[str, Any]]]
) -> tuple[Any, _Specs]:
    """Returns TFT's layer of the graph and the specs."""
    from transforms.output.open_graph import open_transform_graph, stored_raw_spec

    assert options.transform_graph is not None
    output = open_transform_graph(options.transform_graph)
    transformed = output.transformed_feature_spec()
    _check_known(options.labels, transformed, "label: the transform graph gives no feature")
    wanted = options.features or [name for name in transformed if name not in options.labels]
    _check_known(wanted, transformed, "the transform graph gives no feature")
    model_spec, blank = needed_of({name: transformed[name] for name in wanted})
    loaded, function = _transform_function(output.transform_savedmodel_dir)
    known = raw_spec_of_transform(function)
    full_raw = _agreed(known, options.raw_feature_spec or stored_raw_spec(output) or known)
    needed = required_inputs(function, model_spec)
    del loaded  # its tables were needed until here; the layer loads its own
    return output.transform_features_layer(), _Specs(
        full_raw,
        {n: full_raw[n] for n in sorted(needed)},
        transformed,
        model_spec,
        blank,
        tensor_names([*full_raw, *transformed]),
    )


def _transform_function(directory: str) -> tuple[Any, Any]:
    loaded = tf.saved_model.load(directory)
    function = getattr(loaded, "transform_fn", None)
    if function is None:
        raise ConfigError(f"{directory} is a transform graph of TensorFlow 1; analyze again with today's TFT")
    return loaded, function.concrete_functions[0] if hasattr(function, "concrete_functions") else function


def _agreed(known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the given features that the graph takes; a graph knows kinds and types, the given spec defaults."""
    spec = {}
    for name, feature in known.items():
        if name not in given:
            raise ConfigError(
                f"the transform graph reads feature {name!r}, which is not in raw_feature_spec; it has {', '.join(sorted(given))}"
            )
        other = given[name]
        if getattr(other, "dtype", None) != feature.dtype or isinstance(other, tf.io.FixedLenFeature) != isinstance(
            feature, tf.io.FixedLenFeature
        ):
            raise ConfigError(
                f"feature {name!r}: the transform graph was made for {feature}, raw_feature_spec says {other}"
            )
        spec[name] = other
    return spec


def _keyword_function(method: Any, signature: Mapping[str, tf.TensorSpec]) -> Any:
    # A signature's tensors are keyword arguments; feature names need not be Python names.
    return tf.function(lambda tensors: method(tensors), autograph=False).get_concrete_function(dict(signature))


def _is_plain(spec: Mapping[str, Any]) -> bool:
    try:
        batch_signature(spec, tensor_names(spec))
    except ConfigError:
        return False
    return True


def _check_known(wanted: Sequence[str], spec: Mapping[str, Any], what: str) -> None:
    unknown = [name for name in wanted if name not in spec]
    if unknown:
        raise ConfigError(f"{what} {unknown[0]!r} not found; the data has {listed(sorted(spec))}")
