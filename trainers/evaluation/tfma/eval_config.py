"""TFMA's EvalConfig as the settings of an evaluation here; what has no counterpart is refused by name."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.core.errors import ConfigError
from engine.storage.tree import read_text
from trainers.evaluation.metric_names import canonical
from trainers.evaluation.thresholds import Threshold

__all__ = ["EvalSettings", "read_eval_config"]

_RANKING = {"NDCG": "ndcg"}
_BY_CLASS = ("Precision", "Recall", "F1Score", "AUC")  # what a class, and a mean of classes, has here


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
    intervals: str = ""
    min_rows: int = 1

    def reports(self, segment: Any) -> bool:
        """Whether a segment with `key` and `rows` is one of those asked for, and large enough."""
        if segment.rows < self.min_rows:
            return False
        wanted = [values for columns, values in self.only if columns == tuple(segment.key)]
        return not wanted or any(all(str(segment.key[c]) == v for c, v in values.items()) for values in wanted)


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
    if not all(labels.values()):
        raise ConfigError("eval_config: model_specs.label_key is missing; say which column is the label")
    metrics: list[str] = []
    thresholds: list[Threshold] = []
    queries: list[str] = []
    for spec in config.metrics_specs:
        _refuse(spec, ("output_weights", "cross_slice_thresholds"), "metrics_specs.")
        names = _metrics(spec)
        outputs = list(spec.output_names) or [""]
        prefixes = [f"{output}/" if len(labels) > 1 and output else "" for output in outputs]
        metrics += [name for each in names.values() for name in each]
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
        intervals=_intervals(options),
        min_rows=max(1, options.min_slice_size.value),
    )


def _model(specs: Sequence[Any]) -> Any:
    models = [spec for spec in specs if not spec.is_baseline]
    if len(models) != 1:
        raise ConfigError(f"eval_config: {len(models)} models in model_specs; give one, and the baseline by --baseline")
    model = models[0]
    _refuse(model, ("preprocessing_function_names", "example_weight_keys", "padding_options"), "model_specs.")
    return model


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
            raise ConfigError("eval_config: slicing_specs.slice_keys_sql has no counterpart here; give feature_keys")
        columns = (*spec.feature_keys, *sorted(spec.feature_values))
        slices.append(columns)
        if spec.feature_values:
            only.append((columns, dict(spec.feature_values)))
        else:
            every.add(columns)
    return slices, [each for each in only if each[0] not in every]


def _intervals(options: Any) -> str:
    if not options.compute_confidence_intervals.value:
        return ""
    kinds = options.confidence_intervals
    return "jackknife" if kinds.method == kinds.JACKKNIFE else "bootstrap"


def _metrics(spec: Any) -> dict[str, list[str]]:
    """Class name, or name in the metric's configuration, to names of results here."""
    found: dict[str, list[str]] = {}
    for metric in spec.metrics:
        if metric.class_name in ("ExampleCount", "WeightedExampleCount"):
            found[metric.class_name] = []
            continue
        if metric.class_name.endswith("Plot") or metric.class_name == "ConfusionMatrixAtThresholds":
            found[metric.class_name] = []  # `curves` of the result are always there
            continue
        settings = _config(metric)
        names = _names(metric.class_name, settings, spec)
        found.setdefault(metric.class_name, []).extend(names)
        if settings.get("name"):
            found[settings["name"]] = names
    return found


def _config(metric: Any) -> dict[str, Any]:
    """The settings of a metric: JSON, whose outer braces may be left out, as in TFMA."""
    text = metric.config.strip()
    try:
        return dict(json.loads(text if text.startswith("{") else f"{{{text}}}"))
    except ValueError as error:
        raise ConfigError(f"eval_config: the config of {metric.class_name} is no JSON: {error}") from None


def _names(class_name: str, settings: Mapping[str, Any], spec: Any) -> list[str]:
    known = {
        "name",
        "thresholds",
        "num_thresholds",
        "top_k",
        "top_k_list",
        "gain_key",
        "dtype",
        "from_logits",
        "threshold",
    }
    unknown = [key for key in settings if key not in known]
    if unknown or settings.get("from_logits"):
        raise ConfigError(
            f"eval_config: {class_name} has the setting {unknown[0] if unknown else 'from_logits'!r}, which has no counterpart here"
        )
    if class_name == "FairnessIndicators":
        return [f"fairness@{_number(each)}" for each in settings.get("thresholds", [0.5])]
    tops = list(spec.binarize.top_k_list.values) or settings.get("top_k_list") or []
    if class_name in _RANKING:
        return [f"{_RANKING[class_name]}_at_{k}" for k in tops] or [_RANKING[class_name]]
    if tops or settings.get("top_k") or spec.binarize.k_list.values:
        raise ConfigError(
            f"eval_config: {class_name} by top_k or k has no counterpart here; use top_{(tops or [5])[0]}"
        )
    base = "f1" if class_name == "F1Score" else class_name
    mean = _aggregate(spec) if spec.HasField("aggregate") else ""
    if mean:
        return [f"{mean}_{_of_classes(class_name, 'aggregate')}"]
    if spec.binarize.class_ids.values:
        short = _of_classes(class_name, "binarize.class_ids")
        return [f"{short}@classId:{index}" for index in spec.binarize.class_ids.values]
    at = settings.get("thresholds", settings.get("threshold"))
    if at is None:
        return [base]
    return [f"{base}@{_number(each)}" if each != 0.5 else base for each in (at if isinstance(at, list) else [at])]


def _of_classes(class_name: str, setting: str) -> str:
    if class_name not in _BY_CLASS:
        raise ConfigError(f"eval_config: {class_name} with {setting} has no counterpart here")
    return canonical(class_name)


def _aggregate(spec: Any) -> str:
    kind = spec.aggregate.WhichOneof("type")
    if len(spec.aggregate.class_weights) or spec.aggregate.top_k_list.values:
        raise ConfigError("eval_config: aggregate.class_weights and aggregate.top_k_list have no counterpart here")
    return {"micro_average": "micro", "macro_average": "macro", "weighted_macro_average": "weighted"}.get(
        kind or "", ""
    )


def _number(value: float) -> str:
    return f"{float(value):g}"


def _thresholds(spec: Any, names: Mapping[str, list[str]], prefix: str, min_rows: int) -> list[Threshold]:
    found: list[Threshold] = []

    def add(metric: str, threshold: Any, slices: tuple[tuple[str, ...], ...], overall: bool) -> None:
        for name in names.get(metric, [metric]) or [metric]:
            found.append(_threshold(f"{prefix}{name}", threshold, slices, min_rows, overall))

    for metric in spec.metrics:
        _refuse(metric, ("cross_slice_thresholds",), "metrics_specs.metrics.")
        if metric.HasField("threshold"):
            add(metric.class_name, metric.threshold, (), True)
        for each in metric.per_slice_thresholds:
            add(metric.class_name, each.threshold, *_judged(each.slicing_specs))
    for metric, threshold in spec.thresholds.items():
        add(metric, threshold, (), True)
    for metric, several in spec.per_slice_thresholds.items():
        for each in several.thresholds:
            add(metric, each.threshold, *_judged(each.slicing_specs))
    return found


def _judged(specs: Sequence[Any]) -> tuple[tuple[tuple[str, ...], ...], bool]:
    """Kinds of segments that a bound holds for, and whether all rows together are one of them."""
    slices, only = _slices(specs)
    if only:
        raise ConfigError(
            "eval_config: per_slice_thresholds by feature_values have no counterpart here; give feature_keys"
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
            raise ConfigError("eval_config: change_threshold.relative has no counterpart here; give absolute")
        lower = change.direction == 1  # LOWER_IS_BETTER: the change may be at most this, else at least
        bounds["max_change" if lower else "min_change"] = change.absolute.value
    if not bounds:
        raise ConfigError(f"eval_config: the threshold of {metric} has no bound")
    return Threshold(metric=metric, slices=slices, min_rows=max(1, min_rows), overall=overall, **bounds)
