"""A metric has one set of names: what `metrics` takes, `thresholds` takes, and results carry."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.evaluation.accumulators.metric_table import MetricTable
from trainers.evaluation.judgement import failures
from trainers.evaluation.metric_names import CLASSES, RESULT_NAMES, result_name
from trainers.evaluation.metrics import own_results
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
