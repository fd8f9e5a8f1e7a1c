"""Metrics of several classes, several labels, rankings and errors are those of scikit-learn, however the rows are cut and merged."""

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn.metrics")

from engine import DataError  # noqa: E402
from trainers.evaluation.accumulators.metric_table import Intervals, MetricTable  # noqa: E402
from trainers.evaluation.metrics import own_results  # noqa: E402

GROUPS = 3


def _found(task, metrics, labels, predictions, weights, groups, queries=None, classes=2, intervals=Intervals.NONE):
    """Results by group of tables that saw parts of the rows, under other numbers of groups, and were merged."""
    names, others = own_results(metrics, task, classes)
    assert not others
    total = MetricTable(task, intervals, classes, names)
    for start in range(0, len(labels), 300):
        part = slice(start, start + 300)
        table = MetricTable(task, intervals, classes, names)
        ids = np.arange(len(labels))[part]
        table.update(
            GROUPS - 1 - groups[part],
            labels[part],
            predictions[part],
            weights[part],
            ids,
            None if queries is None else queries[part],
        )
        again = MetricTable(task, intervals, classes, names)
        again.load(table.arrays())
        total.merge(again, np.arange(GROUPS)[::-1])
    results = total.results(GROUPS)
    return [{name: results[name][group] for name in names} for group in range(GROUPS)], total.half_widths(GROUPS)


def _weights(rows, seed=1):
    rng = np.random.default_rng(seed)
    return rng.choice([0.5, 1.0, 2.0], rows), rng.integers(0, GROUPS, rows)


def test_several_classes():
    rng = np.random.default_rng(2)
    predictions, labels = rng.dirichlet([2.0] * 4, 1000), rng.integers(0, 4, 1000).astype(float)
    predictions = 0.6 * predictions + 0.4 * np.eye(4)[np.where(rng.uniform(size=1000) < 0.6, labels, 1).astype(int)]
    weights, groups = _weights(1000)
    metrics = ["per_class", "top_2", "auc", "accuracy", "log_loss", "balanced_accuracy"]
    metrics += [f"{mean}_{name}" for mean in ("macro", "micro", "weighted") for name in ("precision", "recall", "f1")]
    found, _ = _found("multiclass", metrics, labels, predictions, weights, groups, classes=4)
    for group in range(GROUPS):
        mine = groups == group
        y, p, w = labels[mine], predictions[mine], weights[mine]
        answers, got = p.argmax(axis=1), found[group]
        for name in ("precision", "recall", "f1"):
            score = getattr(sklearn, f"{name}_score")
            key = "f1_score" if name == "f1" else name
            for mean in ("macro", "micro", "weighted"):
                expected = score(y, answers, average=mean, sample_weight=w)
                assert got[f"{mean}_{key}"] == pytest.approx(expected, abs=1e-6), (name, mean)
            if name != "f1":
                each = score(y, answers, average=None, sample_weight=w)
                assert [got[f"{name}@classId:{i}"] for i in range(4)] == pytest.approx(list(each), abs=1e-6)
        assert got["sparse_categorical_crossentropy"] == pytest.approx(
            sklearn.log_loss(y, p, sample_weight=w), abs=1e-6
        )
        assert got["balanced_accuracy"] == pytest.approx(sklearn.balanced_accuracy_score(y, answers, sample_weight=w))
        top = sklearn.top_k_accuracy_score(y, p, k=2, sample_weight=w)
        assert got["top_2_accuracy"] == pytest.approx(top, abs=1e-6)
        areas = [sklearn.roc_auc_score(y == i, p[:, i], sample_weight=w) for i in range(4)]
        assert got["macro_auc"] == pytest.approx(np.mean(areas), abs=1e-4)  # of the histogram's buckets


def test_several_labels():
    rng = np.random.default_rng(4)
    predictions = rng.beta(0.7, 1.1, (1000, 3))
    labels = (rng.uniform(size=(1000, 3)) < predictions).astype(float)
    weights, groups = _weights(1000)
    metrics = [
        "subset_accuracy",
        "hamming_loss",
        "log_loss",
        "per_class",
        "auc",
        "macro_f1",
        "micro_f1",
        "weighted_recall",
    ]
    found, _ = _found("multilabel", metrics, labels, predictions, weights, groups, classes=3)
    for group in range(GROUPS):
        mine, got = groups == group, found[group]
        y, p, w = labels[mine], predictions[mine], weights[mine]
        answers = (p > 0.5).astype(float)
        assert got["subset_accuracy"] == pytest.approx(sklearn.accuracy_score(y, answers, sample_weight=w), abs=1e-6)
        assert got["hamming_loss"] == pytest.approx(sklearn.hamming_loss(y, answers, sample_weight=w), abs=1e-6)
        losses = [sklearn.log_loss(y[:, i], p[:, i], sample_weight=w) for i in range(3)]
        assert got["binary_crossentropy"] == pytest.approx(np.mean(losses), abs=1e-6)
        for mean, name in (("macro", "f1"), ("micro", "f1"), ("weighted", "recall")):
            expected = getattr(sklearn, f"{name}_score")(y, answers, average=mean, sample_weight=w)
            assert got[f"{mean}_{'f1_score' if name == 'f1' else name}"] == pytest.approx(expected, abs=1e-6)
        precision = sklearn.precision_score(y, answers, average=None, sample_weight=w)
        assert [got[f"precision@classId:{i}"] for i in range(3)] == pytest.approx(list(precision), abs=1e-6)
        area = sklearn.roc_auc_score(y, p, average="macro", sample_weight=w)
        assert got["macro_auc"] == pytest.approx(area, abs=1e-4)


@pytest.mark.parametrize("intervals", [Intervals.JACKKNIFE, Intervals.BOOTSTRAP])
def test_rankings_whose_queries_lie_anywhere(intervals):
    rng = np.random.default_rng(6)
    queries = rng.integers(0, 60, 1000)
    predictions = np.round(rng.uniform(size=1000), 1)  # many ties
    labels = rng.choice([0.0, 0.0, 1.0, 3.0], 1000)
    groups = queries % GROUPS
    metrics = ["ndcg", "ndcg_at_5", "map", "mrr", "precision_at_3", "recall_at_3"]
    found, widths = _found(
        "regression", metrics, labels, predictions, np.ones(1000), groups, queries, intervals=intervals
    )
    for group in range(GROUPS):
        values = {name: [] for name in metrics}
        for query in range(group, 60, GROUPS):
            mine = queries == query
            gain, score = labels[mine], predictions[mine]
            relevant = gain > 0
            if not relevant.any():
                continue
            values["ndcg"].append(sklearn.ndcg_score([gain], [score]))
            values["ndcg_at_5"].append(sklearn.ndcg_score([gain], [score], k=5))
            values["map"].append(sklearn.label_ranking_average_precision_score([relevant], [score]))
            values["mrr"].append(1 / min((score >= s).sum() for s in score[relevant]))
            hits = []  # the mean over orders of the tied rows, drawn
            for _ in range(400):
                order = np.lexsort((rng.uniform(size=len(score)), -score))
                hits.append(relevant[order][:3].sum())
            values["precision_at_3"].append(np.mean(hits) / 3)
            values["recall_at_3"].append(np.mean(hits) / relevant.sum())
        for name in metrics:
            within = 0.02 if name.endswith("_at_3") else 1e-6
            assert found[group][name] == pytest.approx(np.mean(values[name]), abs=within), name
            spread = np.std(values[name], ddof=1) / np.sqrt(len(values[name]))
            assert 0.3 * 1.96 * spread < widths[name][group] < 3 * 1.96 * spread, name


def test_query_counts_by_the_one_weight_that_its_rows_have():
    rng = np.random.default_rng(7)
    queries, labels, predictions = rng.permutation(300) % 40, rng.choice([0.0, 1.0], 300), rng.uniform(size=300)
    each, zeros = rng.uniform(0.5, 2, 40), np.zeros(300, np.int64)
    ((found, *_), _), (alone, _) = (
        _found("regression", ["map"], labels, predictions, each[queries], groups, queries)
        for groups in (zeros, queries % GROUPS)
    )
    values = []
    for query in range(40):
        mine = queries == query
        relevant = labels[mine] > 0
        values.append(sklearn.label_ranking_average_precision_score([relevant], [predictions[mine]]))
    assert all(labels[queries == query].any() for query in range(40)) and len(alone) == GROUPS
    assert found["map"] == pytest.approx(np.average(values, weights=each), rel=1e-9)
    mixed = each[queries]
    mixed[37] = 9.0
    with pytest.raises(DataError, match=r"1 of 40 queries have rows of different weights, one of them from .* to 9;"):
        _found("regression", ["map"], labels, predictions, mixed, zeros, queries)
    one = _found("regression", ["map"], labels, predictions, mixed, zeros, zeros)[0][
        0
    ]  # its weight is that of nothing else
    assert one["map"] == pytest.approx(
        sklearn.label_ranking_average_precision_score([labels > 0], [predictions]), rel=1e-9
    )


def test_ndcg_by_hand():
    from trainers.evaluation.accumulators.ranking import RankedRows

    ndcg = pytest.importorskip("sklearn.metrics").ndcg_score
    rows = RankedRows(["ndcg_at_2"])
    zeros = np.zeros(4, np.int64)
    rows.update(zeros, zeros, np.array([0.0, 2.0, 1.0, 5.0]), np.array([0.4, 0.9, 0.7, 0.1]), np.ones(4))
    # By hand: gains 2 and 1 are found first, 5 and 2 would be best.
    by_hand = (2 / np.log2(2) + 1 / np.log2(3)) / (5 / np.log2(2) + 2 / np.log2(3))
    assert rows.results(1)["ndcg_at_2"][0] == pytest.approx(by_hand, abs=1e-12)
    assert ndcg([[0, 2, 1, 5]], [[0.4, 0.9, 0.7, 0.1]], k=2) == pytest.approx(by_hand)


def test_quantiles_of_errors_and_pinball_loss():
    rng = np.random.default_rng(3)
    labels, predictions = rng.normal(5, 3, 1000), rng.normal(5, 1, 1000)
    weights, groups = _weights(1000)
    metrics = ["median_absolute_error", "absolute_error_p90", "pinball_loss@0.9", "mae", "rmse"]
    found, widths = _found("regression", metrics, labels, predictions, weights, groups, intervals=Intervals.JACKKNIFE)
    for group in range(GROUPS):
        mine, got = groups == group, found[group]
        y, p, w = labels[mine], predictions[mine], weights[mine]
        for name, q in (("median_absolute_error", 0.5), ("absolute_error_p90", 0.9)):
            expected = np.quantile(abs(y - p), q, weights=w, method="inverted_cdf")
            assert got[name] == pytest.approx(expected, rel=1e-6), name
        pinball = sklearn.mean_pinball_loss(y, p, alpha=0.9, sample_weight=w)
        assert got["pinball_loss@0.9"] == pytest.approx(pinball, abs=1e-6)
        assert got["root_mean_squared_error"] == pytest.approx(sklearn.root_mean_squared_error(y, p, sample_weight=w))
    assert np.isfinite(widths["absolute_error_p90"]).all()


def test_confusion_at_other_thresholds_and_fairness():
    rng = np.random.default_rng(9)
    predictions = rng.beta(0.7, 1.1, 1000)
    labels = (rng.uniform(size=1000) < predictions).astype(float)
    weights, groups = _weights(1000)
    found, _ = _found("binary", ["recall@0.3", "f1@0.70", "fairness@0.2"], labels, predictions, weights, groups)
    for group in range(GROUPS):
        mine, got = groups == group, found[group]
        y, p, w = labels[mine], predictions[mine], weights[mine]
        assert got["recall@0.3"] == pytest.approx(sklearn.recall_score(y, p > 0.3, sample_weight=w), abs=1e-9)
        assert got["f1_score@0.7"] == pytest.approx(sklearn.f1_score(y, p > 0.7, sample_weight=w), abs=1e-9)
        tn, fp, fn, tp = sklearn.confusion_matrix(y, p > 0.2, sample_weight=w).ravel()
        rates = {"fpr": fp / (fp + tn), "fnr": fn / (fn + tp), "tpr": tp / (fn + tp), "tnr": tn / (fp + tn)}
        rates |= {"predicted_positive_rate": (tp + fp) / w.sum(), "false_discovery_rate": fp / (tp + fp)}
        rates |= {"false_omission_rate": fn / (fn + tn)}
        assert {name: got[f"{name}@0.2"] for name in rates} == pytest.approx(rates, abs=1e-9)


def test_segments_made_one_are_those_rows_together():
    labels, predictions = np.arange(400) % 3 / 2 > 0.4, np.linspace(0, 1, 400)
    groups = np.arange(400) % 4
    for intervals in Intervals:
        table, both = (
            MetricTable("binary", intervals, 2, ["auc", "ndcg_at_5", "median_absolute_error"]) for _ in range(2)
        )
        ids = np.arange(400)
        table.update(groups, labels * 1.0, predictions, np.ones(400), ids, ids % 20)
        both.update(groups // 2, labels * 1.0, predictions, np.ones(400), ids, ids % 20)
        merged = table.regrouped(np.array([0, 0, 1, 1]))
        for find in ("results", "half_widths"):
            one, two = getattr(merged, find)(2), getattr(both, find)(2)
            assert one.keys() == two.keys()
            for name in one:
                np.testing.assert_allclose(one[name], two[name], rtol=1e-9, atol=1e-12)
