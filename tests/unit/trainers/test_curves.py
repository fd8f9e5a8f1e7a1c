"""Curves of an evaluation against their definitions on the rows themselves."""

import json

import numpy as np
import pytest

from trainers.evaluation.accumulators.score_histogram import ScoreHistogram
from trainers.evaluation.passes.curves import Curves


def _rows(count=5000):
    rng = np.random.default_rng(8)
    predictions = rng.beta(0.6, 1.2, count)
    predictions[:300] = 0.37  # exactly at a threshold: not above it
    labels = (rng.uniform(size=count) < predictions).astype(float)
    return labels, predictions, rng.choice([0.5, 1.0, 2.0], count)


def _curves(cuts):
    labels, predictions, weights = _rows()
    parts = []
    for start in range(0, len(labels), cuts):
        part = slice(start, start + cuts)
        curves, histogram = Curves("binary"), ScoreHistogram()
        curves.update(labels[part], predictions[part], weights[part])
        histogram.update(np.zeros(len(labels[part]), np.int64), labels[part], predictions[part], weights[part])
        parts.append((curves, histogram))
    first = parts[0]
    for curves, histogram in parts[1:]:
        first[0].merge(curves)
        first[1].merge(histogram)
    return json.loads(json.dumps(first[0].as_json(first[1]), allow_nan=False))


def test_confusion_is_exact_at_each_threshold_and_merges():
    labels, predictions, weights = _rows()
    found = _curves(5000)["confusion"]
    assert found == _curves(700)["confusion"] and len(found) == 99
    for each in found:
        positive = predictions > each["threshold"]
        for name, mine in {
            "tp": positive & (labels == 1),
            "fp": positive & (labels == 0),
            "fn": ~positive & (labels == 1),
            "tn": ~positive & (labels == 0),
        }.items():
            assert each[name] == pytest.approx(weights[mine].sum(), rel=1e-12), each


def test_roc_pr_and_calibration_are_those_of_the_rows():
    labels, predictions, weights = _rows()
    found = _curves(1200)
    yes, no = weights * labels, weights * (1 - labels)
    assert found["roc"][0] == {"threshold": 1.0, "fpr": 0.0, "tpr": 0.0} and found["roc"][-1]["fpr"] == 1.0
    assert 100 < len(found["pr"]) <= 200
    for point in found["roc"][1:]:
        above = predictions >= point["threshold"]
        assert point["tpr"] == pytest.approx(yes[above].sum() / yes.sum())
        assert point["fpr"] == pytest.approx(no[above].sum() / no.sum())
    for point in found["pr"]:
        above = predictions >= point["threshold"]
        assert point["precision"] == pytest.approx(yes[above].sum() / weights[above].sum())
        assert point["recall"] == pytest.approx(yes[above].sum() / yes.sum())
    assert sum(each["weight"] for each in found["calibration"]) == pytest.approx(weights.sum())
    for each in found["calibration"]:
        mine = (predictions >= each["low"]) & (predictions < each["high"] + (each["high"] == 1.0))
        assert each["mean_label"] == pytest.approx(yes[mine].sum() / weights[mine].sum())
        assert each["mean_prediction"] == pytest.approx(np.average(predictions[mine], weights=weights[mine]))


def test_one_class_has_no_roc_and_several_classes_a_matrix():
    ones, histogram, curves = np.ones(4), ScoreHistogram(), Curves("binary")
    curves.update(ones, ones * 0.7, ones)
    histogram.update(np.zeros(4, np.int64), ones, ones * 0.7, ones)
    found = curves.as_json(histogram)
    assert "roc" not in found and found["pr"] == [
        {"threshold": found["pr"][0]["threshold"], "recall": 1, "precision": 1}
    ]
    several = Curves("multiclass", 3)
    several.update(np.array([0.0, 2, 2]), np.eye(3)[[1, 2, 2]], np.array([1.0, 2, 3]))
    assert several.as_json(None) == {"confusion_matrix": [[0, 1, 0], [0, 0, 0], [0, 0, 5]]}
