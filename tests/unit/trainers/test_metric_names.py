"""A metric has one set of names: what `metrics` takes, `thresholds` takes, and results carry."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.evaluation.judgement import failures
from trainers.evaluation.metric_names import CLASSES, RESULT_NAMES
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
