"""The metrics of TFMA's MetricsSpec by their names here; what has no counterpart is refused by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from engine.core.errors import ConfigError
from engine.core.json_text import parse_json
from trainers.evaluation.metric_names import canonical, threshold_text

__all__ = ["COUNTS", "metrics_of", "of_itself"]

COUNTS = ("ExampleCount", "WeightedExampleCount")

_RANKING = {"NDCG": "ndcg"}
_MODULES = ("tensorflow_model_analysis", "tensorflow_model_analysis.metrics", "tensorflow.keras.metrics")
# What TFMA's helpers write of a Keras metric whatever it is: these values are what is computed here.
_WITHOUT_EFFECT: Mapping[str, tuple[Any, ...]] = {
    "curve": ("ROC",),
    "summation_method": ("interpolation",),
    "multi_label": (False,),
    "axis": (-1,),
    "label_smoothing": (0,),
    "reduction": ("auto",),
}
_BY_CLASS = ("Precision", "Recall", "F1Score", "AUC")  # what a class, and a mean of classes, has here


def metrics_of(spec: Any, model: Any) -> dict[str, list[str]]:
    """Returns what a bound may call a metric (its class, its name, `of_itself`) to names of results here.

    Args:
        spec: MetricsSpec.
        model: ModelSpec that it is of.

    Raises:
        ConfigError: a metric or a setting of one that has no counterpart.
    """
    found: dict[str, list[str]] = {}
    for metric in spec.metrics:
        if metric.module and not _is_known(metric.module):
            raise ConfigError(
                f"eval_config: {metric.class_name} of module {metric.module!r} has no counterpart here; only TFMA's and Keras' metrics"
            )
        if metric.class_name in COUNTS:
            called = [metric.class_name, *filter(None, [_config(metric).get("name")])]
            if metric.class_name != "ExampleCount" and model.example_weight_key:
                _refuse_bounds_of_weights(metric, called, spec)
                continue
            found.update({name: ["example_count"] for name in (*called, of_itself(metric))})  # rows are always counted
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
        found[of_itself(metric)] = names
        if settings.get("name"):
            found[settings["name"]] = names
    return found


def of_itself(metric: Any) -> str:
    """Returns what `metrics_of` calls this metric alone, where a spec has several of its class."""
    return f"{metric.class_name}({metric.config})"


def _is_known(module: str) -> bool:
    """Whether TFMA's or Keras' metrics and losses are there; Keras has them in private modules of any depth."""
    top, *parts = module.split(".")
    return module in _MODULES or (top in ("keras", "tf_keras") and ("metrics" in parts or "losses" in parts))


def _refuse_bounds_of_weights(metric: Any, called: list[str], spec: Any) -> None:
    judged = metric.HasField("threshold") or len(metric.per_slice_thresholds) > 0
    if judged or any(name in spec.thresholds or name in spec.per_slice_thresholds for name in called):
        raise ConfigError(
            f"eval_config: a threshold of {metric.class_name} has no counterpart here beside example_weight_key; leave it out"
        )


def _config(metric: Any) -> dict[str, Any]:
    """The settings of a metric: JSON, whose outer braces may be left out, as in TFMA; null stands for the default."""
    text = metric.config.strip()
    try:
        found = dict(parse_json(text if text.startswith("{") else f"{{{text}}}"))
    except ValueError as error:
        raise ConfigError(f"eval_config: the config of {metric.class_name} is no JSON: {error}") from None
    return {key: value for key, value in found.items() if value is not None}


def _has_effect(class_name: str, key: str, value: Any) -> bool:
    if key == "fn":  # a loss of Keras names its own function
        return str(value).replace("_", "") != class_name.lower()
    return value not in _WITHOUT_EFFECT.get(key, ())


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
    if class_name == "AUC" and settings.get("curve") == "PR":
        class_name, settings = "AUCPrecisionRecall", {k: v for k, v in settings.items() if k != "curve"}
    unknown = [key for key in settings if key not in known and _has_effect(class_name, key, settings[key])]
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


def _number(value: Any) -> str:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigError(f"eval_config: a threshold of a metric is {value!r}; it must be a number")
    return threshold_text(value)
