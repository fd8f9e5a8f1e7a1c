"""The metrics of TFMA's MetricsSpec by their names here; what has no counterpart is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.core.errors import ConfigError
from engine.core.json_text import parse_json
from trainers.evaluation.metric_names import canonical

__all__ = ["metrics_of"]

_RANKING = {"NDCG": "ndcg"}
_MODULES = (
    "tensorflow_model_analysis",
    "tensorflow_model_analysis.metrics",
    "tensorflow.keras.metrics",
    "tf_keras.metrics",
)
_BY_CLASS = ("Precision", "Recall", "F1Score", "AUC")  # what a class, and a mean of classes, has here


def metrics_of(spec: Any, model: Any) -> dict[str, list[str]]:
    """Returns class name, or name in the metric's configuration, to names of results here.

    Args:
        spec: MetricsSpec.
        model: ModelSpec that it is of.

    Raises:
        ConfigError: a metric or a setting of one that has no counterpart.
    """
    found: dict[str, list[str]] = {}
    for metric in spec.metrics:
        if metric.module and metric.module not in _MODULES:
            raise ConfigError(
                f"eval_config: {metric.class_name} of module {metric.module!r} has no counterpart here; only TFMA's and Keras' metrics"
            )
        if metric.class_name in ("ExampleCount", "WeightedExampleCount"):
            if metric.class_name != "ExampleCount" and model.example_weight_key:
                raise ConfigError("eval_config: WeightedExampleCount has no counterpart here; leave it out")
            found[metric.class_name] = []  # rows are always counted
            continue
        if metric.class_name.endswith("Plot") or metric.class_name == "ConfusionMatrixAtThresholds":
            found[metric.class_name] = []  # `curves` of the result are always there
            continue
        settings = _config(metric)
        gain = settings.get("gain_key")
        if gain is not None and gain not in (model.label_key, *model.label_keys.values()):
            raise ConfigError(
                f"eval_config: {metric.class_name} has gain_key {gain!r}; the gain is the label here, "
                f"{model.label_key or ', '.join(model.label_keys.values())!r}"
            )
        names = _names(metric.class_name, settings, spec)
        found.setdefault(metric.class_name, []).extend(names)
        if settings.get("name"):
            found[settings["name"]] = names
    return found


def _config(metric: Any) -> dict[str, Any]:
    """The settings of a metric: JSON, whose outer braces may be left out, as in TFMA."""
    text = metric.config.strip()
    try:
        return dict(parse_json(text if text.startswith("{") else f"{{{text}}}"))
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
        if spec.binarize.k_list.values or spec.binarize.class_ids.values or spec.HasField("aggregate"):
            raise ConfigError(
                f"eval_config: {class_name} takes top_k_list alone; leave k_list, class_ids and aggregate out"
            )
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
