"""TFMA's EvalConfig as the settings of an evaluation here; what has no counterpart is refused by name."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.core.errors import ConfigError
from engine.storage.tree import read_text
from trainers.evaluation.tfma.eval_metrics import COUNTS, metrics_of, of_itself
from trainers.evaluation.thresholds import Threshold

__all__ = ["EvalSettings", "read_eval_config"]

_SIGNATURES = ("serving_default", "raw_features")  # answers are the same
_MODEL_TYPES = ("tf_keras", "tf_generic")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalSettings:
    """What an EvalConfig says, in the terms of `trainers.evaluation.evaluate`.

    Attributes:
        labels: output to label; the output is empty where the model has one.
        slices: columns of each kind of segment.
        only: for kinds of segments, values of columns that are reported; others are left out.
        metrics: names.
        thresholds: bounds.
        weight, query: columns; empty for none.
        output: that holds the predictions; empty where none is named.
        intervals: "jackknife" or "bootstrap"; empty where it asks for none.
        min_rows: segments with fewer rows are not reported.
    """

    labels: Mapping[str, str]
    slices: tuple[tuple[str, ...], ...]
    only: tuple[tuple[tuple[str, ...], Mapping[str, str]], ...]
    metrics: tuple[str, ...]
    thresholds: tuple[Threshold, ...]
    weight: str = ""
    query: str = ""
    output: str = ""
    intervals: str = ""
    min_rows: int = 1

    def reports(self, segment: Any) -> bool:
        """Whether a segment with `key` and `rows` is one of those asked for, and large enough."""
        if segment.rows < self.min_rows:
            return False
        wanted = [values for columns, values in self.only if columns == tuple(segment.key)]
        return not wanted or any(all(_is_value(segment.key[c], v) for c, v in values.items()) for values in wanted)


def read_eval_config(path: str | os.PathLike[str]) -> EvalSettings:
    """Returns the settings in a file of TFMA's EvalConfig as proto text.

    Args:
        path: file or URI.

    Raises:
        ConfigError: not such a file, or a field that has no counterpart; the message names it.
    """
    from google.protobuf import text_format
    from tensorflow_model_analysis.proto import config_pb2

    text = read_text(os.fspath(path))
    if text is None:
        raise ConfigError(f"eval_config {os.fspath(path)!r} not found")
    try:
        config = text_format.Parse(text, config_pb2.EvalConfig())
    except text_format.ParseError as error:
        raise ConfigError(f"eval_config {os.fspath(path)!r} is no proto text of an EvalConfig: {error}") from None
    return _settings(config)


def _settings(config: Any) -> EvalSettings:
    model = _model(config.model_specs)
    _refuse(config, ("cross_slicing_specs",), "")
    slices, only = _slices(config.slicing_specs)
    options = config.options
    _refuse(options, ("disabled_outputs",), "options.")
    labels = dict(model.label_keys) or {"": model.label_key}
    _refuse_default_metrics(options)
    if not all(labels.values()):
        raise ConfigError(
            f"eval_config: model_specs.label_key is missing (seen {labels}); say which column is the label"
        )
    metrics: list[str] = []
    thresholds: list[Threshold] = []
    queries: list[str] = []
    for spec in config.metrics_specs:
        _refuse(spec, ("output_weights", "cross_slice_thresholds"), "metrics_specs.")
        _refuse_other_rows(spec, model)
        names = metrics_of(spec, model)
        outputs = list(spec.output_names) or [""]
        prefixes = [f"{output}/" if len(labels) > 1 and output else "" for output in outputs]
        metrics += [name for each in names.values() for name in each if name != "example_count"]
        queries += [spec.query_key] if spec.query_key else []
        for prefix in prefixes:
            thresholds += _thresholds(spec, names, prefix, options.min_slice_size.value)
    if len(set(queries)) > 1:
        raise ConfigError(f"eval_config: metrics_specs have several query keys ({', '.join(queries)}); give one")
    found = [part for part in [*slices, *(columns for t in thresholds for columns in t.slices)] if part]
    return EvalSettings(
        labels=labels,
        slices=tuple(dict.fromkeys(found)),
        only=tuple(only),
        metrics=tuple(dict.fromkeys(metrics)),
        thresholds=tuple(thresholds),
        weight=model.example_weight_key,
        query=queries[0] if queries else "",
        output=_output(model, labels, config.metrics_specs),
        intervals=_intervals(options),
        min_rows=max(1, options.min_slice_size.value),
    )


def _model(specs: Sequence[Any]) -> Any:
    models = [spec for spec in specs if not spec.is_baseline]
    if len(models) != 1:
        raise ConfigError(f"eval_config: {len(models)} models in model_specs; give one, and the baseline by --baseline")
    model = models[0]
    _refuse(model, ("preprocessing_function_names", "example_weight_keys", "padding_options"), "model_specs.")
    _refuse_but(model, "signature_name", _SIGNATURES, "model_specs.")
    _refuse_but(model, "model_type", _MODEL_TYPES, "model_specs.")
    for output, key in model.prediction_keys.items():
        if key != output:
            raise ConfigError(
                f"eval_config: model_specs.prediction_keys of output {output!r} is {key!r}; it must be the output's own name"
            )
    return model


def _output(model: Any, labels: Mapping[str, str], specs: Sequence[Any]) -> str:
    """The output that holds the predictions, where one label is given and the configuration names it."""
    if model.label_keys:
        strange = {name for spec in specs for name in spec.output_names if name not in labels}
        if strange:
            raise ConfigError(f"eval_config: metrics_specs.output_names {sorted(strange)} have no label in label_keys")
        return ""
    names = dict.fromkeys(
        [*filter(None, [model.prediction_key]), *(name for spec in specs for name in spec.output_names)]
    )
    if len(names) > 1:
        raise ConfigError(
            f"eval_config: outputs {', '.join(names)}, and one label; give label_keys, a label for each output"
        )
    return next(iter(names), "")


def _refuse_but(message: Any, name: str, allowed: Sequence[str], where: str) -> None:
    value = getattr(message, name)
    if value and value not in allowed:
        raise ConfigError(f"eval_config: {where}{name} is {value!r}; it may be {' or '.join(allowed)}, or left out")


def _refuse_default_metrics(options: Any) -> None:
    if options.include_default_metrics.value:
        raise ConfigError("eval_config: options.include_default_metrics has no counterpart here; name the metrics")


def _refuse_other_rows(spec: Any, model: Any) -> None:
    """Metrics of other models, or with other weights, than the configuration has."""
    others = [name for name in spec.model_names if name != model.name]
    if others:
        raise ConfigError(f"eval_config: metrics_specs.model_names {others} have no counterpart here; leave them out")
    # Rows are counted without weights in any case, and without a weight key the weights are all 1, as in TFMA.
    counts = all(metric.class_name in COUNTS for metric in spec.metrics)
    if spec.example_weights.unweighted and model.example_weight_key and not counts:
        raise ConfigError(
            "eval_config: metrics_specs.example_weights.unweighted has no counterpart beside example_weight_key; leave one out"
        )


def _refuse(message: Any, fields: Iterable[str], where: str) -> None:
    for name in fields:
        value = getattr(message, name)
        is_set = len(value) > 0 if hasattr(value, "__len__") else message.HasField(name)
        if is_set:
            raise ConfigError(f"eval_config: {where}{name} has no counterpart here; leave it out")


def _slices(
    specs: Sequence[Any],
) -> tuple[list[tuple[str, ...]], list[tuple[tuple[str, ...], Mapping[str, str]]]]:
    """Kinds of segments, () for all rows, and those values of them that are wanted where not all are."""
    slices: list[tuple[str, ...]] = []
    only: list[tuple[tuple[str, ...], Mapping[str, str]]] = []
    every: set[tuple[str, ...]] = set()
    for spec in specs:
        if spec.slice_keys_sql:
            raise ConfigError(
                f"eval_config: slicing_specs.slice_keys_sql = {str(spec.slice_keys_sql)!r:.80} has no counterpart here; "
                "give feature_keys"
            )
        columns = (*spec.feature_keys, *sorted(spec.feature_values))
        slices.append(columns)
        if spec.feature_values:
            only.append((columns, dict(spec.feature_values)))
        else:
            every.add(columns)
    return slices, [each for each in only if each[0] not in every]


def _is_value(value: Any, text: str) -> bool:
    """Whether a segment's value is what feature_values says in text: "1" and "1.0" are the number 1, as in TFMA."""
    if str(value) == text:
        return True
    try:
        return isinstance(value, (int, float)) and value == (float(text) if "." in text else int(text))
    except ValueError:
        return False


def _intervals(options: Any) -> str:
    if not options.compute_confidence_intervals.value:
        return ""
    kinds = options.confidence_intervals
    return "jackknife" if kinds.method == kinds.JACKKNIFE else "bootstrap"


def _thresholds(spec: Any, names: Mapping[str, list[str]], prefix: str, min_rows: int) -> list[Threshold]:
    found: list[Threshold] = []

    def add(metric: str, threshold: Any, slices: tuple[tuple[str, ...], ...], overall: bool) -> None:
        for name in names.get(metric) or [metric]:
            found.append(_threshold(f"{prefix}{name}", threshold, slices, min_rows, overall))

    for metric in spec.metrics:
        _refuse(metric, ("cross_slice_thresholds",), "metrics_specs.metrics.")
        if metric.HasField("threshold"):
            add(_own(metric, names), metric.threshold, (), True)
        for each in metric.per_slice_thresholds:
            add(_own(metric, names), each.threshold, *_judged(each.slicing_specs))
    for metric, threshold in spec.thresholds.items():
        add(metric, threshold, (), True)
    for metric, several in spec.per_slice_thresholds.items():
        for each in several.thresholds:
            add(metric, each.threshold, *_judged(each.slicing_specs))
    return found


def _own(metric: Any, names: Mapping[str, list[str]]) -> str:
    """What `names` calls a metric: by its class alone a bound would hold for others of the class, too."""
    return of_itself(metric) if of_itself(metric) in names else metric.class_name


def _judged(specs: Sequence[Any]) -> tuple[tuple[tuple[str, ...], ...], bool]:
    """Kinds of segments that a bound holds for, and whether all rows together are one of them."""
    slices, only = _slices(specs)
    if only:
        raise ConfigError(
            f"eval_config: per_slice_thresholds by feature_values ({dict(only[0][1])}) have no counterpart here; give feature_keys"
        )
    return tuple(part for part in slices if part), () in slices


def _threshold(
    metric: str, threshold: Any, slices: tuple[tuple[str, ...], ...], min_rows: int, overall: bool
) -> Threshold:
    bounds: dict[str, Any] = {}
    kind = threshold.WhichOneof("validate_absolute"), threshold.WhichOneof("validate_relative")
    if kind[0]:
        value = threshold.value_threshold
        bounds.update({"min": value.lower_bound.value} if value.HasField("lower_bound") else {})
        bounds.update({"max": value.upper_bound.value} if value.HasField("upper_bound") else {})
    if kind[1]:
        change = threshold.change_threshold
        if change.HasField("relative"):
            raise ConfigError(
                f"eval_config: change_threshold.relative of {metric} has no counterpart here; give absolute"
            )
        if change.direction not in (1, 2):
            raise ConfigError(
                f"eval_config: the change_threshold of {metric} has no direction; give LOWER_IS_BETTER or HIGHER_IS_BETTER"
            )
        lower = change.direction == 1  # LOWER_IS_BETTER: the change may be at most this, else at least
        bounds["max_change" if lower else "min_change"] = change.absolute.value
    if not bounds:
        raise ConfigError(f"eval_config: the threshold of {metric} has no bound")
    return Threshold(metric=metric, slices=slices, min_rows=max(1, min_rows), overall=overall, **bounds)
