"""Our metric accumulators against Keras, TFMA and the definitions."""

import numpy as np
import pytest

from trainers.evaluation.accumulators.metric_table import PARTS, Intervals, MetricTable, poisson_counts


def _binary(rows=20_000, seed=3):
    rng = np.random.default_rng(seed)
    predictions = rng.beta(0.6, 1.2, rows)
    predictions[:50], predictions[50:60], predictions[60:70] = 0.5, 0.0, 1.0
    labels = (rng.uniform(size=rows) < predictions).astype(float)
    return labels, predictions, rng.choice([0.5, 1.0, 2.0], rows), rng.integers(0, 7, rows)


def _table(task, intervals=Intervals.NONE, **options):
    return MetricTable(task, intervals, **options)


def _fill(table, groups, labels, predictions, weights, cuts):
    for start in range(0, len(labels), cuts):
        part = slice(start, start + cuts)
        ids = np.arange(len(labels))[part]
        table.update(groups[part], labels[part], predictions[part], weights[part], ids)
    return table


def _exact_auc(labels, predictions, weights):
    order = np.argsort(predictions, kind="stable")
    values, inverse = np.unique(predictions[order], return_inverse=True)
    positive = np.bincount(inverse, (weights * labels)[order], len(values))
    negative = np.bincount(inverse, (weights * (1 - labels))[order], len(values))
    below = np.cumsum(negative) - negative
    return (positive @ (below + negative / 2)) / (positive.sum() * negative.sum())


def test_auc_of_each_segment_is_within_its_stated_bound():
    labels, predictions, weights, groups = _binary()
    found = _fill(_table("binary"), groups, labels, predictions, weights, 3777).results(7)
    for group in range(7):
        mine = groups == group
        exact = _exact_auc(labels[mine], predictions[mine], weights[mine])
        assert abs(found["auc"][group] - exact) <= found["auc_error_bound"][group] + 1e-12
        assert found["auc_error_bound"][group] < 2e-3


def test_binary_metrics_equal_keras():
    import keras

    labels, predictions, weights, _ = _binary()
    found = _fill(_table("binary"), np.zeros(len(labels), np.int64), labels, predictions, weights, 5000).results(1)
    metrics = {
        "binary_crossentropy": keras.metrics.BinaryCrossentropy(),
        "binary_accuracy": keras.metrics.BinaryAccuracy(),
        "precision": keras.metrics.Precision(),
        "recall": keras.metrics.Recall(),
        "mean_squared_error": keras.metrics.MeanSquaredError(),
        "mean_absolute_error": keras.metrics.MeanAbsoluteError(),
        "auc": keras.metrics.AUC(num_thresholds=5000),
        "auc_precision_recall": keras.metrics.AUC(num_thresholds=5000, curve="PR"),
    }
    for name, metric in metrics.items():
        metric.update_state(labels[:, None], predictions[:, None], sample_weight=weights)
        assert found[name][0] == pytest.approx(float(metric.result()), rel=1e-4), name


def test_multiclass_metrics_equal_keras_and_definitions():
    import keras

    rng = np.random.default_rng(1)
    predictions, labels = rng.dirichlet([1] * 6, 4000), rng.integers(0, 6, 4000).astype(float)
    weights = rng.choice([0.5, 1, 2], 4000)
    table = _table("multiclass", classes=6)
    found = _fill(table, np.zeros(4000, np.int64), labels, predictions, weights, 1100).results(1)
    metrics = {
        "sparse_categorical_accuracy": keras.metrics.SparseCategoricalAccuracy(),
        "sparse_categorical_crossentropy": keras.metrics.SparseCategoricalCrossentropy(),
        "top_5_accuracy": keras.metrics.SparseTopKCategoricalAccuracy(5),
        "macro_f1_score": keras.metrics.F1Score("macro"),
    }
    for name, metric in metrics.items():
        truth = np.eye(6)[labels.astype(int)] if "f1" in name else labels[:, None]
        metric.update_state(truth, predictions.astype(np.float32), sample_weight=weights)
        assert found[name][0] == pytest.approx(float(metric.result()), rel=1e-5), name


def test_regression_metrics_are_their_definitions():
    rng = np.random.default_rng(2)
    labels, predictions, weights = rng.normal(5, 2, 999), rng.normal(5, 2, 999), rng.uniform(0.5, 2, 999)
    found = _fill(_table("regression"), np.zeros(999, np.int64), labels, predictions, weights, 100).results(1)
    error = labels - predictions
    assert found["mean_squared_error"][0] == pytest.approx(np.average(error**2, weights=weights))
    assert found["mean_absolute_error"][0] == pytest.approx(np.average(abs(error), weights=weights))
    assert found["calibration"][0] == pytest.approx((weights @ predictions) / (weights @ labels))


def test_metric_without_meaning_is_no_number():
    ones = np.ones(5)
    found = _fill(_table("binary"), np.zeros(5, np.int64), ones, ones * 0.7, ones, 5).results(2)
    assert np.isnan(found["auc"]).all() and np.isnan(found["fpr"]).all()  # one class; a segment without rows
    assert found["recall"][0] == 1 and np.isnan(found["recall"][1])


@pytest.mark.parametrize("intervals", list(Intervals))
def test_results_and_intervals_do_not_depend_on_cuts(intervals):
    labels, predictions, _, groups = _binary(3000)
    ones = np.ones(3000)
    tables = [_fill(_table("binary", intervals), groups, labels, predictions, ones, cuts) for cuts in (3000, 77)]
    for find in ("results", "half_widths"):
        one, two = (getattr(table, find)(7) for table in tables)
        assert one.keys() == two.keys()
        for name in one:
            np.testing.assert_allclose(one[name], two[name], rtol=1e-9, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("intervals", [Intervals.JACKKNIFE, Intervals.BOOTSTRAP])
def test_interval_covers_the_truth_about_as_often_as_it_says(intervals):
    # The mean of a label whose probability is known: 60 data sets, 95 % intervals.
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels, predictions = (rng.uniform(size=500) < 0.3).astype(float), rng.uniform(size=500)
        table = _table("binary", intervals)
        zeros, ids = np.zeros(500, np.int64), np.arange(500) + 1000 * seed
        table.update(zeros, labels, predictions, np.ones(500), ids)
        width = table.half_widths(1)["mean_label"][0]
        covered += abs(table.results(1)["mean_label"][0] - 0.3) <= width
    assert covered >= 50  # a fair 95 % gives fewer in one of 10,000 runs


def test_jackknife_of_a_mean_is_the_grouped_formula():
    labels, predictions, _, _ = _binary(2000)
    ones, zeros, ids = np.ones(2000), np.zeros(2000, np.int64), np.arange(2000)
    table = _table("binary", Intervals.JACKKNIFE)
    table.update(zeros, labels, predictions, ones, ids)
    from trainers.evaluation.accumulators.sampling import part_of

    parts = part_of(ids)
    left_out = np.array([labels[parts != part].mean() for part in range(PARTS)])
    expected = 2.093 * np.sqrt((PARTS - 1) / PARTS * ((left_out - left_out.mean()) ** 2).sum())
    assert table.half_widths(1)["mean_label"][0] == pytest.approx(expected)


def test_poisson_counts_have_mean_and_variance_one_and_depend_on_the_row_alone():
    counts = poisson_counts(np.arange(200_000), 4)
    assert counts.mean() == pytest.approx(1, abs=0.01) and counts.var() == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(poisson_counts(np.array([199_999, 5]), 4), counts[[199_999, 5]])
    assert (poisson_counts(np.arange(1000), 5) != counts[:1000]).any()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("binary", ["auc", "recall@0.3", "expected_calibration_error", "absolute_error_p90", "pinball_loss@0.9"]),
        ("regression", ["median_absolute_error"]),
        ("multiclass", ["macro_auc", "top_2_accuracy"]),
        ("multilabel", ["macro_auc"]),
    ],
)
def test_each_bootstrap_sample_is_the_metric_of_its_rows_counted_so_often(task, names, weighted):
    rng, rows = np.random.default_rng(8), 900
    several = task in ("multiclass", "multilabel")
    predictions = rng.dirichlet([1, 1, 1], rows) if several else rng.uniform(size=rows).round(2)
    labels = (
        rng.integers(0, 3, rows).astype(float)
        if task == "multiclass"
        else (rng.uniform(size=predictions.shape) < 0.4) * 1.0
    )
    groups, weights = rng.integers(0, 3, rows), rng.uniform(0, 2, rows) if weighted else np.ones(rows)
    ids = np.arange(rows) + (1 << 40)
    halves = []
    for mine in (slice(0, 400), slice(400, rows)):  # as workers have them, sent and merged
        table, sent = (_table(task, Intervals.BOOTSTRAP, classes=3, names=names) for _ in range(2))
        table.update(groups[mine], labels[mine], predictions[mine], weights[mine], ids[mine])
        sent.load(table.arrays())
        halves.append(sent)
    halves[0].merge(halves[1], np.arange(3))
    renamed = np.array([2, 0, 1])
    found, moved = halves[0].replicates(3), halves[0].regrouped(renamed).replicates(3)
    for sample in (0, PARTS - 1):
        plain = _table(task, classes=3, names=names)
        plain.update(groups, labels, predictions, weights * poisson_counts(ids, sample), ids)
        for name, expected in plain.results(3).items():
            for values in (found[name], moved[name][renamed]):
                np.testing.assert_allclose(values[:, sample], expected, rtol=1e-9, atol=1e-12, err_msg=name)


def test_counts_of_rows_are_held_in_the_narrowest_type_that_is_exact():
    from trainers.evaluation.accumulators.score_histogram import ScoreHistogram

    for often, weight, dtype in (
        (3, 1.0, np.uint8),
        (300, 1.0, np.uint16),
        (70_000, 1.0, np.float64),
        (3, 0.5, np.float64),
    ):
        table, zeros = ScoreHistogram(), np.zeros(often, np.int64)
        table.update(zeros, zeros + 1.0, zeros + 0.25, zeros + weight)
        keys, sums = table.whole()
        assert sums.dtype == dtype and sums.tolist() == [[often * weight], [0]] and len(keys) == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_score_that_is_the_threshold_is_not_above_it_as_in_numpy_and_keras(dtype):
    import keras

    from trainers.evaluation.passes.head_sums import HeadSums
    from trainers.evaluation.passes.plan import Head

    scores = np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.9], dtype)
    names = [f"recall@{score:.1f}" for score in scores]
    sums = HeadSums(Head(output=None, label="y", task="binary", classes=2, names=tuple(names)), Intervals.NONE, True)
    ones = np.ones(len(scores))
    sums.add(np.zeros(len(scores), np.int64), ones, scores, ones, np.arange(len(scores)), None)
    found, curves = sums.results(1)[0], sums.curves()["confusion"]
    at = {point["threshold"]: point["tp"] for point in curves}
    for name in names:
        threshold = float(name.partition("@")[2])
        assert found[name][0] == pytest.approx((scores > threshold).mean())
        assert at[threshold] == (scores > threshold).sum()
        if dtype == np.float32:
            metric = keras.metrics.Recall(thresholds=threshold)
            metric.update_state(ones[:, None], scores[:, None])
            assert found[name][0] == pytest.approx(float(metric.result()))
