"""A metric has one set of names: what `metrics` takes, `thresholds` takes, and results carry."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from engine.core.errors import ConfigError
from trainers.evaluation.accumulators.metric_table import MetricTable
from trainers.evaluation.comparison import compare
from trainers.evaluation.judgement import failures
from trainers.evaluation.metric_names import CLASSES, RESULT_NAMES, result_name
from trainers.evaluation.metrics import own_results
from trainers.evaluation.result import EvaluationResult, SliceResult
from trainers.evaluation.tfma.kernels import MetricSet
from trainers.evaluation.thresholds import parse_thresholds


@pytest.mark.parametrize("short", sorted(CLASSES))
def test_short_name_and_class_name_of_a_metric_find_its_result(short):
    metrics = MetricSet([short])
    state = metrics.create()
    labels, answers = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.2, 0.9, 0.4, 0.6])
    metrics.update(state, labels, answers, np.ones(4))
    found = metrics.result(state)
    for name in (short, CLASSES[short]):
        assert failures(parse_thresholds({name: {"min": -1.0}}), found, [], None) == []
        assert len(failures(parse_thresholds({name: {"max": -1.0}}), found, [], None)) == 1


@pytest.mark.parametrize("short", sorted(CLASSES))
def test_names_of_our_own_accumulators_are_the_same(short):
    assert own_results([short], "binary") == own_results([CLASSES[short]], "binary") == ([RESULT_NAMES[short]], [])


def test_thresholds_are_taken_to_their_last_digit():
    scores = np.linspace(0, 1, 1001)
    asked = ["recall@.4321000", "recall@0.43210005", "recall@4.3210015e-1", "tpr@1e-5", "pinball_loss@0.1234567"]
    names, others = own_results(asked, "binary")
    assert not others and names == [
        "recall@0.4321", "recall@0.43210005", "recall@0.43210015", "tpr@0.00001", "pinball_loss@0.1234567",
    ]  # fmt: skip
    for short in asked:
        assert result_name(short, names) in names
    scores[432:435] = 0.43210002, 0.4321001, 0.4321002
    table = MetricTable("binary", names=names)
    zeros, ones = np.zeros(1001, np.int64), np.ones(1001)
    table.update(zeros, ones, scores, ones, np.arange(1001))
    found = {name: table.results(1)[name][0] for name in names}
    for name in names[:4]:
        assert found[name] == (scores > float(name.partition("@")[2])).mean(), name
    assert len({found[name] for name in names[:3]}) == 3
    assert found["pinball_loss@0.1234567"] == pytest.approx(0.1234567 * (1 - scores).mean(), rel=1e-12)


def test_thresholds_are_compared_however_an_earlier_version_wrote_them():
    of = functools.partial(EvaluationResult, model="m", model_sha256="0", label="y", rows=300, judged=True)
    old = of(overall={"auc": 0.9, "a/recall@1e-05": 0.9, "recall@0.333333": 0.9, "tpr@0.3": 0.9})
    segments = [SliceResult(key={"g": "x"}, rows=200, metrics=old.overall, half_widths={"a/recall@1e-05": 0.01})]
    old = dataclasses.replace(old, slices=segments, half_widths={"a/recall@1e-05": 0.01})
    new = of(overall={"auc": 0.9, "a/recall@0.00001": 0.8, "recall@0.3333333": 0.9, "fpr@0.4": 0.9})
    segments = [SliceResult(key={"g": "x"}, rows=200, metrics=new.overall, half_widths={"a/recall@0.00001": 0.01})]
    new = dataclasses.replace(new, slices=segments, half_widths={"a/recall@0.00001": 0.01})
    found = compare(old, new)
    assert {each.metric for each in found.changes} == {"auc", "a/recall@0.00001"}
    assert found.reasons == [
        "recall@0.3333333 was measured at another threshold, as recall@0.333333; evaluate the first again",
        "a/recall@0.00001 of all rows is worse: 0.9000 to 0.8000 (-0.1000 ±0.0141)",
        "a/recall@0.00001 of g=x is worse: 0.9000 to 0.8000 (-0.1000 ±0.0141)",
    ]
    assert compare(new, old).may_replace and compare(old, old).may_replace


def test_a_result_made_by_hand_shows_what_each_row_has():
    found = EvaluationResult(
        model="m", model_sha256="", label="y", rows=3, overall={"auc": 0.5, "example_count": 3.0}, baseline={"loss": 2.0},
        slices=[SliceResult(key={"a": 1}, rows=2, metrics={"loss": 0.25})],
    )  # fmt: skip
    cells = [line.split() for line in found.table().split("\n")]
    assert cells[0] == ["segment", "rows", "auc", "loss"]
    assert [line[-2:] for line in cells[2:]] == [["0.5000", "–"], ["–", "2.0000"], ["–", "0.2500"]]
    assert "| a=1 | 2 | – | 0.2500 |" in found.markdown()
    with pytest.raises(ConfigError, match="metric 'acu' not found; the evaluation has auc, loss"):
        found.table(metrics=["acu"])
