"""Areas under curves of scores that lie close together are those of scikit-learn, or within the bound that is beside them."""

import numpy as np
import pytest

from trainers.evaluation.accumulators import score_histogram
from trainers.evaluation.accumulators.metric_table import Intervals, MetricTable
from trainers.evaluation.accumulators.sampling import PARTS, part_of
from trainers.evaluation.accumulators.score_histogram import ScoreHistogram

sklearn = pytest.importorskip("sklearn.metrics")

ROWS = 4000
AREAS = ("auc", "auc_precision_recall")


def _sigmoid(logits):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-logits))


def _scores(kind):
    rng = np.random.default_rng(3)
    x = rng.normal(size=ROWS)
    made = {
        "tiny": 10.0 ** rng.uniform(-9, -6, ROWS),
        "near one": (1 - 10.0 ** rng.uniform(-7, -5, ROWS)).astype(np.float32),
        "near one, float64": 1 - 10.0 ** rng.uniform(-13, -9, ROWS),
        "both ends": np.where(x > 0, 1 - 10.0 ** rng.uniform(-7, -1, ROWS), 10.0 ** rng.uniform(-30, -1, ROWS)),
        "few values": rng.choice([0.1, 0.3, 0.30000001, 0.9], ROWS),
        "constant": np.full(ROWS, 0.7),
        "infinite logits": _sigmoid(np.where(rng.uniform(size=ROWS) < 0.4, np.sign(x) * np.inf, x)),
        "denormal": rng.uniform(0, 1e-40, ROWS),
        "float64": _sigmoid(x * 1e-9),
        "float32": _sigmoid(x).astype(np.float32),
        "zeros of both signs": np.where(x > 0, 0.25, np.copysign(0.0, x + 1)),
    }
    scores = made[kind].astype(np.float64)
    rank = np.argsort(np.argsort(scores)) / ROWS
    return scores, (rng.uniform(size=ROWS) < 0.2 + 0.5 * rank).astype(float), rng.choice([0.5, 1.0, 2.0], ROWS)


def _table(scores, labels, weights, intervals=Intervals.NONE, cuts=700):
    table = MetricTable("binary", intervals, names=AREAS)
    for start in range(0, len(scores), cuts):
        part, each = slice(start, start + cuts), MetricTable("binary", intervals, names=AREAS)
        zeros = np.zeros(len(scores[part]), np.int64)
        each.update(zeros, labels[part], scores[part], weights[part], np.arange(len(scores))[part])
        again = MetricTable("binary", intervals, names=AREAS)
        again.load(each.arrays())
        table.merge(again, np.zeros(1, np.int64))
    return table


KINDS = ["tiny", "near one", "near one, float64", "both ends", "few values", "constant", "infinite logits", "denormal"]


@pytest.mark.parametrize("kind", [*KINDS, "float64", "float32", "zeros of both signs"])
def test_auc_is_scikit_learns_or_within_its_bound(kind):
    scores, labels, weights = _scores(kind)
    found = {name: values[0] for name, values in _table(scores, labels, weights).results(1).items()}
    exact = sklearn.roc_auc_score(labels, scores, sample_weight=weights)
    assert abs(found["auc"] - exact) <= found["auc_error_bound"] + 1e-12
    fine = kind not in ("denormal", "float64", "few values", "constant")  # of float64 that no float32 tells apart
    if fine or (scores == scores.astype(np.float32)).all():
        assert found["auc"] == pytest.approx(exact, abs=1e-6)
    if kind in ("float32", "near one"):  # what a model answers: exactly
        assert found["auc"] == pytest.approx(exact, abs=1e-12)
        assert found["auc_error_bound"] == found["auc_precision_recall_error_bound"] == 0.0


def test_scores_that_a_softmax_rounded_to_more_than_one_stay_in_their_segment():
    rng = np.random.default_rng(6)
    scores, labels = rng.uniform(0.5, 1, 300).astype(np.float32), rng.integers(0, 2, 300).astype(float)
    scores[::7] = np.nextafter(np.float32(1), np.float32(2))
    table, groups = MetricTable("multiclass", classes=2, names=("macro_auc",)), np.arange(300) % 3
    answers = np.stack([scores, np.maximum(1 - scores, 0)], axis=1).astype(np.float64)
    table.update(groups, labels, answers, np.ones(300), np.arange(300))
    found = table.results(3)["auc@classId:0"]
    for group in range(3):
        mine = groups == group
        assert found[group] == pytest.approx(sklearn.roc_auc_score(labels[mine] == 0, scores[mine]), abs=1e-12)


def test_macro_auc_of_skewed_scores_is_scikit_learns():
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(3000, 4)) * 3 + np.array([0.0, 15.0, -10.0, 2.0])
    labels = rng.integers(0, 4, 3000).astype(float)
    logits[np.arange(3000), labels.astype(int)] += 2
    scores = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
    table = MetricTable("multiclass", Intervals.NONE, 4, ["macro_auc", "auc@classId:2"])
    table.update(np.zeros(3000, np.int64), labels, scores, np.ones(3000), np.arange(3000))
    found = {name: values[0] for name, values in table.results(1).items()}
    areas = [sklearn.roc_auc_score(labels == i, scores[:, i]) for i in range(4)]
    assert found["macro_auc"] == pytest.approx(np.mean(areas), abs=1e-9) and found["macro_auc_error_bound"] == 0
    assert found["auc@classId:2"] == pytest.approx(areas[2], abs=1e-9)


@pytest.mark.parametrize("kind", ["tiny", "both ends", "float32"])
def test_many_distinct_scores_share_slots_within_the_bound_however_they_are_cut(kind, monkeypatch):
    scores, labels, weights = _scores(kind)
    scores = scores.astype(np.float32).astype(np.float64)
    whole = {name: values[0] for name, values in _table(scores, labels, weights).results(1).items()}
    monkeypatch.setattr(score_histogram, "MOST_SLOTS", 1000)
    tables = [_table(scores, labels, weights, cuts=cuts) for cuts in (ROWS, 333)]
    backwards = _table(scores[::-1], labels[::-1], weights[::-1], cuts=777)
    names = [*AREAS, *(f"{name}_error_bound" for name in AREAS)]
    found = [{name: table.results(1)[name][0] for name in names} for table in (*tables, backwards)]
    assert found[0] == found[1] == found[2]
    for name in AREAS:
        assert abs(found[0][name] - whole[name]) <= found[0][f"{name}_error_bound"] < 0.03  # of 1,000 slots
        assert found[0][f"{name}_error_bound"] > 0
    histogram = ScoreHistogram()
    histogram.update(np.zeros(ROWS, np.int64), labels, scores, weights)
    slots, sums = histogram.whole()
    assert 500 < len(slots) <= 1000
    for index in (
        0,
        100,
        len(slots) // 2,
        len(slots) - 1,
    ):  # the least score of a slot divides the rows as the slots do
        above = scores >= histogram.scores(slots)[index]
        assert sums[0, index:].sum() == pytest.approx((weights * labels)[above].sum())


def test_parts_of_a_segment_share_its_slots(monkeypatch):
    scores, labels, weights = _scores("float32")
    monkeypatch.setattr(score_histogram, "MOST_SLOTS", 800)
    table = _table(scores, labels, weights, Intervals.JACKKNIFE)
    alone = _table(scores, labels, weights)
    parts = part_of(np.arange(ROWS))
    for name in AREAS:
        assert table.results(1)[name][0] == pytest.approx(alone.results(1)[name][0], abs=1e-12)
        for part in (0, PARTS - 1):
            kept = parts != part
            expected = sklearn.roc_auc_score(labels[kept], scores[kept], sample_weight=weights[kept])
            if name == "auc":
                assert table.replicates(1)[name][0, part] == pytest.approx(expected, abs=2e-4)
