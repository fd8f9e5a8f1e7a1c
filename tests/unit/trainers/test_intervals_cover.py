"""Simulation: 95 % intervals of values and of paired differences hold the truth in about 95 of 100 data sets."""

import numpy as np
import pytest

from trainers.evaluation.accumulators.metric_table import MetricTable
from trainers.evaluation.accumulators.sampling import Intervals, half_width
from trainers.evaluation.comparison import compare
from trainers.evaluation.result import EvaluationResult

SETS, ROWS = 200, 400
QUANTILES = ("median_absolute_error", "absolute_error_p90")
NAMES = ("auc", "binary_crossentropy", "mean_squared_error", "binary_accuracy", "recall", *QUANTILES)


def _draw(rows, seed):
    """Labels and two models' probabilities: the second sees the same with more noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    labels = (rng.uniform(size=rows) < 1 / (1 + np.exp(-x))).astype(float)
    one, two = (1 / (1 + np.exp(-(x + rng.normal(0, noise, rows)))) for noise in (0.3, 0.8))
    return labels, one, two


def _table(labels, predictions, groups, intervals=Intervals.NONE):
    table = MetricTable("binary", intervals, 2, NAMES)
    table.update(groups, labels, predictions, np.ones(len(labels)), np.arange(len(labels)))
    return table


@pytest.fixture(scope="module")
def truth():
    labels, one, two = _draw(1_000_000, 1)
    zeros = np.zeros(len(labels), np.int64)
    found = [_table(labels, each, zeros).results(1) for each in (one, two)]
    return [{name: each[name][0] for name in NAMES} for each in found]


@pytest.mark.parametrize("intervals", [Intervals.JACKKNIFE, Intervals.BOOTSTRAP])
def test_intervals_hold_the_truth_at_their_rate(truth, intervals):
    labels, one, two = _draw(SETS * ROWS, 2)
    groups = np.repeat(np.arange(SETS), ROWS)  # each segment is a data set of its own
    tables = [_table(labels, each, groups, intervals) for each in (one, two)]
    values, replicates = [t.results(SETS) for t in tables], [t.replicates(SETS) for t in tables]
    for name in NAMES:
        for which in (0, 1):
            half = half_width(replicates[which][name], intervals)
            covered = (np.abs(values[which][name] - truth[which][name]) <= half).sum()
            # A fair 95 % gives fewer than 178 of 200 in one of 3,000 runs.
            assert 178 <= covered <= 200, (name, covered)
        difference = truth[1][name] - truth[0][name]
        paired = half_width(replicates[1][name] - replicates[0][name], intervals)
        found = values[1][name] - values[0][name]
        covered = (np.abs(found - difference) <= paired).sum()
        assert 178 <= covered <= 200, (name, covered)
        if name not in QUANTILES:
            alone = np.hypot(*(half_width(each[name], intervals) for each in replicates))
            assert np.median(paired) < 0.8 * np.median(alone), name  # that is what pairing is for


def _classes(rows, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4))
    weights = np.exp(x)
    return (x + rng.gumbel(size=x.shape)).argmax(1).astype(float), weights / weights.sum(1, keepdims=True), None


def _labels(rows, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    return (rng.uniform(size=x.shape) < 1 / (1 + np.exp(np.arange(3) - x))).astype(float), 1 / (1 + np.exp(-x)), None


def _queries(rows, seed):
    rng = np.random.default_rng(seed)
    queries, x = np.arange(rows) // 8, rng.normal(size=rows)
    gains = np.minimum(rng.poisson(np.exp(0.7 * x + 0.5 * rng.normal(size=rows // 8)[queries] - 1)), 4)
    return gains.astype(float), x + rng.normal(size=rows), queries


_RANKING = ["ndcg_at_5", "mrr", "map", "recall_at_3"]


@pytest.mark.parametrize(
    ("task", "draw", "names", "intervals"),
    [
        ("multiclass", _classes, ["macro_f1_score", "balanced_accuracy", "macro_auc"], Intervals.JACKKNIFE),
        ("multilabel", _labels, ["macro_f1_score", "micro_f1_score", "subset_accuracy"], Intervals.BOOTSTRAP),
        ("regression", _queries, _RANKING, Intervals.JACKKNIFE),
        ("regression", _queries, _RANKING, Intervals.BOOTSTRAP),
    ],
)
def test_intervals_of_classes_and_rankings_hold_the_truth_at_their_rate(task, draw, names, intervals):
    def table(rows, seed, groups, how):
        labels, predictions, queries = draw(rows, seed)
        found = MetricTable(task, how, 4 if task == "multiclass" else 3, names)
        found.update(groups, labels, predictions, np.ones(rows), np.arange(rows), queries)
        return found

    true = table(200_000, 1, np.zeros(200_000, np.int64), Intervals.NONE).results(1)
    of_sets = table(SETS * ROWS, 2, np.repeat(np.arange(SETS), ROWS), intervals)
    values, halves = of_sets.results(SETS), of_sets.half_widths(SETS)
    for name in names:
        covered = (np.abs(values[name] - true[name][0]) <= halves[name]).sum()
        assert 176 <= covered <= 200, (name, covered)  # the interval of a mean of 20 samples is a little too narrow


def _result(labels, predictions, data="d", **facts):
    table = _table(labels, predictions, np.zeros(len(labels), np.int64), Intervals.JACKKNIFE)
    overall = {
        name: float(each[0]) for name, each in table.results(1).items() if name in NAMES and name not in QUANTILES
    }
    parts = {name: each[0] for name, each in table.replicates(1).items() if name in overall}
    return EvaluationResult(
        model="m", model_sha256="0", label="y", data=data, rows=len(labels), overall=overall, intervals="jackknife",
        half_widths={name: float(half_width(each, Intervals.JACKKNIFE)) for name, each in parts.items()},
        deviations={name: (each - overall[name]).astype(np.float32) for name, each in parts.items()}, **facts,
    )  # fmt: skip


def test_comparison_finds_the_worse_model_only_where_rows_are_paired(tmp_path):
    labels, one, _ = _draw(3000, 5)
    slightly = 1 / (1 + (1 / one - 1) ** 1.2)  # too sure of itself: worse by less than the interval of either
    before, after = _result(labels, one), _result(labels, slightly, judged=True)
    after.save(tmp_path / "after.json")
    after = EvaluationResult.load(tmp_path / "after.json")
    paired = compare(before, after)
    change = {each.metric: each for each in paired.changes}["binary_crossentropy"]
    assert paired.paired and change.verdict == "worse" and not paired.may_replace
    assert change.half_width < before.half_widths["binary_crossentropy"] / 5
    assert any(line.startswith("binary_crossentropy of all rows is worse: ") for line in paired.reasons)
    apart = compare(before, _result(labels, slightly, data="other", judged=True))
    change = {each.metric: each for each in apart.changes}["binary_crossentropy"]
    assert not apart.paired and change.verdict == "" and apart.may_replace
    assert change.half_width == pytest.approx(np.hypot(*[before.half_widths["binary_crossentropy"]] * 2), rel=0.2)
    back = compare(after, _result(labels, one, judged=True))
    assert back.may_replace and {each.verdict for each in back.changes} == {"better", ""}
    assert compare(before, before).reasons == ["it was held to no thresholds"]
