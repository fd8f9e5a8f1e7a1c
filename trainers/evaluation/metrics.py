"""Which metrics are asked for: those of our own accumulators, and any other of TensorFlow Model Analysis, row by row."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from engine.core.errors import ConfigError
from trainers.evaluation.metric_names import FAIRNESS_RATES, canonical, is_number_text, result_name, threshold_text

__all__ = ["MOST_CLASSES", "TASKS", "check_classes", "check_judged", "default_metrics", "own_results"]

MOST_CLASSES = 10_000  # that may have something of their own, a curve or a metric
_MANY_CLASSES = 100  # of a model that is not there yet
TASKS = ("binary", "multiclass", "multilabel", "regression")
_DEFAULTS = {
    "binary": (
        "AUC", "AUCPrecisionRecall", "BinaryCrossEntropy", "BinaryAccuracy", "Precision", "Recall",
        "Calibration", "MeanLabel", "MeanPrediction",
    ),
    "regression": ("MeanSquaredError", "MeanAbsoluteError", "Calibration", "MeanLabel", "MeanPrediction"),
    "multiclass": ("SparseCategoricalAccuracy", "SparseCategoricalCrossentropy"),
    "multilabel": ("subset_accuracy", "hamming_loss", "BinaryCrossEntropy", "micro_f1", "macro_f1"),
}  # fmt: skip

_ERRORS = {"mean_squared_error", "mean_absolute_error", "root_mean_squared_error"}
_MEANS = {"calibration", "mean_label", "mean_prediction", *_ERRORS}
_CONFUSION = {"binary_accuracy", "precision", "recall", "f1_score", *FAIRNESS_RATES}
_BY_CLASS = {
    f"{mean}_{name}" for mean in ("macro", "micro", "weighted") for name in ("precision", "recall", "f1_score")
}
_RANKING = r"mrr|map|ndcg(_at_[1-9]\d*)?|(precision|recall)_at_[1-9]\d*"
_QUANTILES = r"median_absolute_error|absolute_error_p[1-9]\d?|pinball_loss@0\.\d+"
_CLASS = r"(precision|recall|f1_score|auc|auc_precision_recall)@classId:(\d+)"
_AREAS = {"macro_auc", "macro_auc_precision_recall"}
# Names in results that our own accumulators give, by task: a set, and a pattern.
_OWN: dict[str, tuple[set[str], str]] = {
    "regression": (_MEANS, f"{_QUANTILES}|{_RANKING}"),
    "binary": (
        {*_MEANS, *_CONFUSION, "auc", "auc_precision_recall", "binary_crossentropy", "expected_calibration_error"},
        rf"{_QUANTILES}|{_RANKING}|({'|'.join(sorted(_CONFUSION))})@(0?\.\d+|[01])",
    ),
    "multiclass": (
        {*_BY_CLASS, *_AREAS, "sparse_categorical_accuracy", "sparse_categorical_crossentropy", "balanced_accuracy"},
        rf"top_[1-9]\d*_accuracy|{_CLASS}",
    ),
    "multilabel": (
        {*_BY_CLASS, *_AREAS, "subset_accuracy", "hamming_loss", "binary_crossentropy"},
        _CLASS,
    ),
}
_ALIASES = {
    "multiclass": {
        "SparseCategoricalAccuracy": "sparse_categorical_accuracy",
        "CategoricalAccuracy": "sparse_categorical_accuracy",
        "binary_accuracy": "sparse_categorical_accuracy",
        "SparseCategoricalCrossentropy": "sparse_categorical_crossentropy",
        "CategoricalCrossEntropy": "sparse_categorical_crossentropy",
        "binary_crossentropy": "sparse_categorical_crossentropy",
        "auc": "macro_auc",
        "auc_precision_recall": "macro_auc_precision_recall",
    },
    "multilabel": {
        "binary_accuracy": "subset_accuracy",
        "auc": "macro_auc",
        "auc_precision_recall": "macro_auc_precision_recall",
    },
}


def own_results(metrics: Sequence[str], task: str, classes: int = 2) -> tuple[list[str], list[str]]:
    """Returns the results of our own accumulators that are asked for, and the names that only TFMA knows.

    Args:
        metrics: names of TFMA's classes, short ones, or names in results. "recall@0.3" is another threshold than 0.5; "fairness"
            stands for the rates that Fairness Indicators compares, "fairness@0.3" for them at another threshold, "per_class"
            for precision and recall of each class, "top_3" for an accuracy (of all classes where there are fewer). Of
            rankings "mrr", "map", "ndcg", "ndcg_at_10", "precision_at_10", "recall_at_10". Of errors
            "median_absolute_error", "absolute_error_p90" and "pinball_loss@0.9".
        task: one of `TASKS`.
        classes: number of classes.

    Raises:
        ConfigError: a class that there is none of.
    """
    own: list[str] = []
    others: list[str] = []
    names, pattern = _OWN[task]
    for metric in metrics:
        for name in _expanded(metric, task, classes):
            base, at, rest = name.partition("@")
            base = canonical(base)
            if not at:
                base = _ALIASES.get(task, {}).get(base, base)
            if at and is_number_text(rest):
                rest = threshold_text(rest)
            found = f"{base}{at}{rest}"
            if found not in names and not re.fullmatch(pattern, found):
                others.append(name)
                continue
            class_id = re.fullmatch(_CLASS, found)
            if class_id and int(class_id[2]) >= classes:
                raise ConfigError(f"metrics: {metric!r} is of class {class_id[2]}; the model has 0 to {classes - 1}")
            own.append(found)
    return list(dict.fromkeys(own)), others


def check_classes(metrics: Sequence[str], task: str, classes: int) -> None:
    """Refuses metrics that keep something of its own for each class, where there are very many.

    Args:
        metrics: as `own_results` takes them.
        task: one of `TASKS`.
        classes: number of classes.

    Raises:
        ConfigError: names the metric, and what can be had.
    """
    if classes <= MOST_CLASSES:
        return
    for metric in metrics:
        if metric == "per_class":
            what = "gives metrics of each class"
        elif task == "multilabel":
            what = "counts each class by itself"
        elif any("auc" in name for name in own_results([metric], task, classes)[0]):
            what = "keeps a curve of each class"
        else:
            continue
        raise ConfigError(
            f"metrics: {metric!r} {what}, and the model has {classes:,}; at most {MOST_CLASSES:,} are taken. Of more, models with one "
            "class a row have accuracy, log_loss, top_5, balanced_accuracy, macro_, micro_ and weighted_ precision, recall and f1, "
            "and recall@classId:7"
        )


def _expanded(metric: str, task: str, classes: int) -> list[str]:
    base, at, threshold = metric.partition("@")
    if base == "fairness" and task == "binary":
        return [f"{rate}{at}{threshold}" for rate in FAIRNESS_RATES]
    if metric == "per_class" and task in ("multiclass", "multilabel"):
        return [f"{each}@classId:{index}" for index in range(classes) for each in ("precision", "recall")]
    top = re.fullmatch(r"top_([1-9]\d*)(_accuracy)?", metric)
    if top and task == "multiclass":
        return [f"top_{min(int(top[1]), classes)}_accuracy"]
    return [metric]


def default_metrics(task: str) -> tuple[str, ...]:
    """Returns the metrics computed where none are named; task is one of `TASKS`."""
    return _DEFAULTS[task]


def check_judged(judged: Iterable[str], metrics: Sequence[str], task: str | None = None) -> None:
    """Refuses metrics of thresholds that an evaluation will not compute, before there is a model.

    What TFMA names the results of its own metrics is known only after it ran: beside such a metric anything is taken.

    Args:
        judged: metrics of thresholds.
        metrics: those that are computed, none for those that fit the task.
        task: one of `TASKS`; None where the model's answers will tell.

    Raises:
        ConfigError: names the metric and what is computed.
    """
    computed = {"example_count"}
    for each in [task] if task else TASKS:
        own, others = own_results(metrics or default_metrics(each), each, _MANY_CLASSES)
        if any(_is_of_tfma(metric) for metric in others):
            return
        computed |= set(own)
    for metric in judged:
        alone = metric.rpartition("/")[2]  # of several outputs each is measured
        if result_name(alone, computed) not in computed:
            near = difflib.get_close_matches(canonical(alone), computed, n=1)
            shown = f"did you mean {near[0]!r}?" if near else f"computed are {', '.join(sorted(computed))}."
            raise ConfigError(
                f"thresholds.{metric}: no such metric is computed; {shown} Another one is to be named in metrics"
            )


def _is_of_tfma(metric: str) -> bool:
    """Whether no task has the metric among our own results."""
    return all(own_results([metric], task, _MANY_CLASSES)[1] for task in TASKS)
