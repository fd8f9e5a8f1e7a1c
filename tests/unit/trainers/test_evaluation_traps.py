"""What an evaluation took in silence: bounds that nothing misses, infinite weights, bytes that are no text, one class a row."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import ConfigError, DataError
from trainers.evaluation.comparison import compare
from trainers.evaluation.evaluate import evaluate
from trainers.evaluation.result import EvaluationResult
from trainers.evaluation.thresholds import Threshold, parse_thresholds

ROWS = 400


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    import tensorflow as tf

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def raw_features(self, x):
            return {
                "late": tf.sigmoid(x),
                "logit": x,
                "kind": tf.nn.softmax(tf.stack([x, -x, 0 * x], 1)),
                "short": tf.cast(tf.sigmoid(x), tf.bfloat16),
                "none": tf.nn.relu(tf.stack([x, -x], 1)),
            }

    folder, model = tmp_path_factory.mktemp("traps"), Model()
    tf.saved_model.save(model, str(folder / "1"), signatures={"raw_features": model.raw_features})
    return folder


def _x():
    return np.random.default_rng(1).normal(size=ROWS).astype(np.float32)


def _evaluate(models, folder, columns, **settings):
    x = _x()
    late = (np.random.default_rng(2).uniform(size=ROWS) < 1 / (1 + np.exp(-x))).astype(int)
    pq.write_table(pa.table({"x": x, "y": late, **columns}), folder / "rows.parquet")
    return evaluate(
        models, str(folder / "rows.parquet"), "y", **{"output": "late", "metrics": ["accuracy"], **settings}
    )


@pytest.mark.parametrize("bound", [float("nan"), float("inf"), {"min": float("nan")}, {"max_gap": float("nan")}])
def test_bound_that_no_value_misses_is_refused(bound):
    with pytest.raises(ConfigError, match="number"):
        parse_thresholds({"auc": {**bound, "slices": [["a"]]} if isinstance(bound, dict) else bound})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min": float("nan")}, "auc.min = nan: it must be a number"),
        ({"max": float("inf")}, "auc.max = inf: it must be a number"),
        ({}, "auc: no bound; give one of min"),
        ({"max_gap": 0.1}, "auc.max_gap: it compares segments"),
        ({"min": 0.1, "overall": False}, "then nothing is judged"),
    ],
)
def test_threshold_made_in_python_is_held_to_the_same_rules(settings, message):
    with pytest.raises(ConfigError, match=message):
        Threshold(metric="auc", **settings)


@pytest.mark.parametrize(
    "bound",
    [
        {"min": 0.0, "overall": False, "min_rows": 1},  # every segment has one class only
        {"min": 0.0, "overall": False, "min_rows": 10_000},
        {"max_gap": 0.5, "min_rows": 10_000},
    ],
)
def test_model_is_not_blessed_where_nothing_was_judged(models, tmp_path, bound):
    result = _evaluate(
        models, tmp_path, {}, slices=["y"], metrics=["auc"], thresholds={"auc": {**bound, "slices": [["y"]]}}
    )
    assert result.judged and not result.blessed and result.not_judged
    assert result.failures[0].startswith("auc: none of the 2 segments of y could be judged")
    both = {**bound, "overall": True, "min": 0.0, "slices": [["y"]]}
    assert _evaluate(models, tmp_path, {}, slices=["y"], metrics=["auc"], thresholds={"auc": both}).blessed


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, -1.0])
def test_weight_that_counts_nothing_is_named(models, tmp_path, value):
    weights = np.ones(ROWS)
    weights[17] = value
    with pytest.raises(DataError, match="weight 'w' is below 0, infinite or no number") as raised:
        _evaluate(models, tmp_path, {"w": weights}, weight="w")
    assert raised.value.record == 17


def test_different_bytes_are_different_segments_and_minus_zero_is_zero(models, tmp_path):
    names = pa.array([b"\xff", rb"\xff", "\u00e9".encode(), None] * (ROWS // 4))  # the second is four letters
    result = _evaluate(models, tmp_path, {"s": names, "f": [0.0, -0.0] * (ROWS // 2)}, slices=["s", "f"])
    assert {(s.name, s.rows) for s in result.slices} == {
        ("s=\\xff", 100), ("s=\\\\xff", 100), ("s=\u00e9", 100), ("s=(missing)", 100), ("f=0.0", ROWS),
    }  # fmt: skip


def test_segments_by_what_is_not_one_value_are_refused_by_name(models, tmp_path):
    for values in ([{"a": 1}] * ROWS, [[1, 2]] * ROWS, [[[1]]] * ROWS):
        with pytest.raises(ConfigError, match=r"slices: column 's' .*one"):
            _evaluate(models, tmp_path, {"s": values}, slices=["s"])


def test_logits_are_named_as_what_they_are(models, tmp_path):
    with pytest.raises(DataError, match=r"outside of .0, 1.; .* where it is a logit export the model with a sigmoid"):
        _evaluate(models, tmp_path, {}, output="logit", task="binary")


def test_one_number_for_each_class_is_one_label_where_the_task_says_so(models, tmp_path):
    truth = np.random.default_rng(4).integers(0, 3, ROWS)
    given = {"output": "kind", "metrics": ["accuracy", "log_loss", "auc"]}
    numbers = _evaluate(models, tmp_path, {"y": truth}, **given)
    for dtype in (np.int64, np.float32, bool):
        one_hot = _evaluate(models, tmp_path, {"y": list(np.eye(3, dtype=dtype)[truth])}, task="multiclass", **given)
        assert one_hot.overall == numbers.overall and dict(one_hot.tasks) == {"": "multiclass"}
    for wrong in ([1, 1, 0], [0, 0, 0], [-1, 0, 0]):
        rows = np.eye(3, dtype=int)[truth].tolist()
        rows[31] = wrong
        with pytest.raises(DataError, match="'y' has not exactly one class; give task = 'multilabel'") as raised:
            _evaluate(models, tmp_path, {"y": rows}, task="multiclass", **given)
        assert raised.value.record == 31


def test_metric_of_probabilities_is_refused_for_logits_and_other_labels(models, tmp_path):
    for settings in ({"output": "logit"}, {"output": "logit", "task": "regression"}):
        with pytest.raises(ConfigError, match=r"'auc' is of probabilities .* answers are from -.* with a sigmoid"):
            _evaluate(models, tmp_path, {}, metrics=["auc"], **settings)
    with pytest.raises(ConfigError, match=r"'accuracy' is of probabilities .* the labels from 1 to 2"):
        _evaluate(models, tmp_path, {"y": [1, 2] * (ROWS // 2)})


@pytest.mark.parametrize("two", [(1, 2), (0, 2), (0, 255), (-1, 0), (-1.0, 2.0)])
def test_two_labels_of_which_none_is_said_to_be_positive_are_refused_as_in_scikit_learn(models, tmp_path, two):
    from sklearn.metrics import roc_curve

    labels = np.array(two * (ROWS // 2))
    with pytest.raises(ValueError, match="pos_label is not specified"):
        roc_curve(labels, 1 / (1 + np.exp(-_x())))
    with pytest.raises((ConfigError, DataError), match=r"make them 0 and 1|labels of two classes are 0 and 1"):
        _evaluate(models, tmp_path, {"y": labels}, metrics=None)
    named = _evaluate(models, tmp_path, {"y": labels}, metrics=None, task="regression")
    assert named.overall["mean_label"] == pytest.approx(labels.mean())
    if -1 not in two:  # metrics of numbers were asked for
        assert _evaluate(models, tmp_path, {"y": labels}, metrics=["mse"]).overall.keys() == {
            "mean_squared_error",
            "example_count",
        }


def test_labels_of_minus_one_and_one_are_those_of_zero_and_one(models, tmp_path):
    x = _x()
    late = (np.random.default_rng(2).uniform(size=ROWS) < 1 / (1 + np.exp(-x))).astype(int)
    given = {"metrics": ["auc", "log_loss", "accuracy"], "slices": ["g"], "batch_rows": 100}
    group = {"g": ["a", "b"] * (ROWS // 2)}
    zero, minus = (_evaluate(models, tmp_path, {**group, "y": y}, **given) for y in (late, 2 * late - 1))
    assert (
        dict(minus.tasks) == {"": "binary"} and minus.overall == zero.overall and minus.half_widths == zero.half_widths
    )
    assert [s.metrics for s in minus.slices] == [s.metrics for s in zero.slices]
    mixed = np.where(np.arange(ROWS) < 200, 2 * late - 1, late)  # each batch has the ones or the others
    three = np.where(np.arange(ROWS) == 230, 0, 2 * late - 1)  # ratings, of which the first rows have two
    for labels in (mixed, three):
        with pytest.raises(DataError, match=r"-1 in some rows and 0.* or give task = 'regression'") as raised:
            _evaluate(models, tmp_path, {"y": labels}, **{**given, "slices": []})
        assert raised.value.record == np.flatnonzero(labels == 0)[0]
    numbers = _evaluate(models, tmp_path, {"y": three}, metrics=["mse"], task="regression")
    assert numbers.overall["mean_squared_error"] == pytest.approx(
        np.mean((three - 1 / (1 + np.exp(-x))) ** 2), rel=1e-5
    )


def test_splits_with_other_signs_of_labels_are_not_added_up(models, tmp_path):
    pq.write_table(pa.table({"x": np.zeros(4, np.float32), "y": [-1, 1, -1, 1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": np.zeros(4, np.float32), "y": [0, 1, 0, 1]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="labels are -1 in some rows and 0"):
        evaluate(models, str(tmp_path / "*.parquet"), "y", output="late", metrics=["auc"])


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_scale_of_weights_changes_nothing(models, tmp_path, scale):
    given = {"weight": "w", "metrics": ["auc", "pr_auc", "log_loss"]}
    one, other = (_evaluate(models, tmp_path, {"w": np.full(ROWS, w)}, **given) for w in (1.0, scale))
    for name in ("auc", "auc_precision_recall", "binary_crossentropy"):
        assert other.overall[name] == pytest.approx(one.overall[name], rel=1e-9)
        assert other.half_widths[name] == pytest.approx(one.half_widths[name], rel=1e-6)


def test_ranking_refuses_gains_below_zero_and_rows_of_no_query(models, tmp_path):
    query = np.arange(ROWS) // 10
    with pytest.raises(DataError, match="label 'y' is below 0; NDCG") as raised:
        _evaluate(models, tmp_path, {"y": [2.0, -1.0] * (ROWS // 2), "q": query}, query="q", metrics=["ndcg_at_5"])
    assert raised.value.record == 1
    with pytest.raises(DataError, match="query 'q' has no value") as raised:
        _evaluate(models, tmp_path, {"q": np.where(query == 3, np.nan, query)}, query="q", metrics=["mrr"])
    assert raised.value.record == 30
    half = _evaluate(models, tmp_path, {"q": query.astype(np.float16)}, query="q", metrics=["mrr"])
    assert half.overall["mrr"] == pytest.approx(
        _evaluate(models, tmp_path, {"q": query}, query="q", metrics=["mrr"]).overall["mrr"]
    )


def test_dictionaries_of_numbers_are_labels_weights_and_buckets_as_those_numbers_are():
    from trainers.evaluation.passes.labels import numbers_of
    from trainers.evaluation.segments.buckets import bucketed

    plain = pa.array([2.5, 0.5, 2.5, 1.0])
    encoded = plain.dictionary_encode()
    assert numbers_of(encoded, "y", "label").tolist() == plain.to_pylist()
    assert bucketed(encoded, "y", (1.0,)).to_pylist() == bucketed(plain, "y", (1.0,)).to_pylist()
    with_null = pa.DictionaryArray.from_arrays([0, 1, 1], pa.array([2.5, None]))
    with pytest.raises(DataError, match="label 'y' has no value") as raised:
        numbers_of(with_null, "y", "label")
    assert raised.value.record == 1


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_queries_are_the_same_in_a_dictionary_and_nan_is_none(dtype):
    from trainers.evaluation.passes.checked_rows import query_numbers

    plain = pa.array(np.array([2.5, 0.5, 2.5, 1.0], dtype))
    encoded = pa.DictionaryArray.from_arrays([0, 1, 0, 2], pa.array(np.array([2.5, 0.5, 1.0, np.nan], dtype)))
    one, other = (query_numbers(pa.record_batch({"q": column}), "q").tolist() for column in (plain, encoded))
    assert one == other and len(set(one)) == 3
    nan = pa.DictionaryArray.from_arrays([0, 1, 3, 2], encoded.dictionary)
    with pytest.raises(DataError, match="query 'q' has no value") as raised:
        query_numbers(pa.record_batch({"q": nan}), "q")
    assert raised.value.record == 2


def test_row_without_any_class_is_named(models, tmp_path):
    x = np.where(np.arange(ROWS) == 23, 0, _x()).astype(np.float32)
    with pytest.raises(DataError, match="answer is 0 for every class") as raised:
        _evaluate(models, tmp_path, {"x": x, "y": [0, 1] * (ROWS // 2)}, output="none", metrics=["accuracy"])
    assert raised.value.record == 23


def test_buckets_are_told_apart_however_near_their_edges_are(models, tmp_path):
    nanoseconds = 1_700_000_000_000_000_000 + 1000 * np.arange(ROWS)
    for values in (nanoseconds, pa.array(nanoseconds, pa.timestamp("ns"))):
        result = _evaluate(models, tmp_path, {"t": values}, slices=["t"], buckets={"t": 4})
        assert sorted(s.rows for s in result.slices) == [99, 100, 100, 101]
    thirds = np.arange(ROWS) / 3  # no more digits than are needed: older evaluations are compared by them
    found = _evaluate(models, tmp_path, {"t": thirds}, slices=["t"], buckets={"t": [100 / 3]})
    assert {s.name for s in found.slices} == {"t=(-inf, 33.3333333333)", "t=[33.3333333333, inf)"}
    infinite = np.where(np.arange(ROWS) < 300, np.inf, np.arange(ROWS))
    found = _evaluate(models, tmp_path, {"t": infinite}, slices=["t"], buckets={"t": 4})
    assert {s.name: s.rows for s in found.slices} == {"t=(-inf, 399)": 99, "t=[399, inf)": 301}


def test_hostile_values_of_segments_are_shown_as_they_are_and_none_for_another(models, tmp_path):
    values = ["[red]", "[/x]", "a|b", "a\nb", r"a\nb", "\u202e", "(missing)", None, "", "x" * 5000]
    columns = {"s": values * (ROWS // 10), "a": ["1", "1, b=2"] * (ROWS // 2), "b": ["2, b=3", "3"] * (ROWS // 2)}
    columns["t"] = pa.array([1, 2] * (ROWS // 2), pa.time64("ns"))  # Python's times would be one
    columns["h"] = np.array([1, 2] * (ROWS // 2), np.float16)
    result = _evaluate(models, tmp_path, columns, slices=["s", ["a", "b"], "t", "h"])
    assert [s.rows for s in result.slices] == [40] * 10 + [200] * 6
    names = [s.name for s in result.slices]
    assert len(set(names)) == 16 and {"s=a\\nb", 's="a\\nb"', 's="(missing)"', "s=(missing)", 'a="1, b=2", b=3'} <= set(
        names
    )
    text, page = result.table(), result.markdown()
    assert len(text.splitlines()) == 2 + 1 + 16 and "s=[red] " in text and "s=[/x] " in text
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 1 + 16 and all(len(line.replace("\\|", "").split("|")) == 5 for line in rows)


def test_verdict_is_whole_in_markdown():
    line = f"auc of s={'x' * 300} is 0.5000, at least 0.8 is needed"
    assert f"\n{line}\n" in dataclasses.replace(_result(auc=0.5), failures=[line]).markdown()


def test_names_of_model_and_label_format_nothing_in_markdown():
    named = {"model": "/m`<img src=x>", "label": "y`\n\n# Approved"}
    text = dataclasses.replace(_result(auc=0.5), **named).markdown()
    assert text.count("\n# ") == 0 and "<img" not in text and r"/m\`&lt;img src=x&gt;" in text


@pytest.mark.parametrize(
    "metric",
    [
        *("ece", "FalseDiscoveryRate", "FalsePositives", "CategoricalCrossEntropy", "late/fpr@0.3", "Hinge"),
        *("FDR", "FOR", "late/brier", "BrierScore", "logcosh", "log_cosh", "LogCosh", "mape", "MAPE", "rmsle", "MSLE"),
        *("nll", "perplexity", "Fallout", "FallOut", "Huber", "kld"),
    ],
)
def test_number_is_the_most_of_what_is_better_when_less_by_whatever_name(metric):
    (threshold,) = parse_thresholds({metric: 0.2})
    assert (threshold.min, threshold.max) == (None, 0.2)


@pytest.mark.parametrize(
    "metric",
    [
        *("loss_given_default/auc", "error/recall@0.3", "recall_at_false_positive_rate", "RecallAtFalsePositiveRate"),
        *("brier_skill_score", "for/auc", "recall_for_new_users"),
    ],
)
def test_number_is_the_least_of_a_metric_whatever_its_output_is_called(metric):
    (threshold,) = parse_thresholds({metric: 0.2})
    assert (threshold.min, threshold.max) == (0.2, None)
    before, after = _result(**{metric: 0.9}), dataclasses.replace(_result(**{metric: 0.5}), judged=True)
    assert any("is worse" in reason for reason in compare(before, after).reasons)
    assert not any("is worse" in reason for reason in compare(after, before).reasons)


def test_bounds_may_be_numbers_of_numpy():
    for value in (np.float32(0.5), np.float64(0.5), np.int64(1)):
        bound = Threshold(metric="auc", min=value)
        assert (bound,) == parse_thresholds({"auc": value}) and json.dumps(bound.min)
    for value in (np.bool_(True), np.float32("nan"), 10**400, "1"):
        with pytest.raises(ConfigError, match="it must be a number"):
            Threshold(metric="auc", min=value)


def test_answers_of_bfloat16_are_those_of_float32(models, tmp_path):
    from trainers.serving.predict import predict

    result = _evaluate(models, tmp_path, {}, output="short", metrics=["mean_prediction"])
    answers = 1 / (1 + np.exp(-_x()))
    assert result.overall["mean_prediction"] == pytest.approx(answers.mean(), abs=2e-3)
    predict(models, str(tmp_path / "rows.parquet"), tmp_path / "out", keep=["y", "y"], outputs="short", num_shards=1)
    (path,) = (tmp_path / "out").glob("data-*")
    table = pq.read_table(path)
    assert table.column_names == ["y", "short"] and table["short"].type == pa.float32()
    np.testing.assert_allclose(table["short"].to_numpy(), answers, rtol=2**-8)


def test_column_is_not_crossed_with_itself(models, tmp_path):
    with pytest.raises(ConfigError, match="slices: s, s has a column twice"):
        _evaluate(models, tmp_path, {"s": ["a"] * ROWS}, slices=[["s", "s"]])


def _result(**overall):
    return EvaluationResult(model="m", model_sha256="0", label="y", rows=300, overall=overall, judged=True)


def test_model_may_not_replace_another_that_it_was_not_compared_with():
    before = _result(auc=0.9, example_count=300.0)
    assert compare(before, _result(mean_squared_error=0.1, example_count=300.0)).reasons == [
        "they have no metric in common"
    ]
    lost = compare(before, _result(auc=float("nan"), example_count=300.0))
    assert lost.reasons == ["auc of all rows was 0.9000 and is no number any more"] and not lost.may_replace
    assert compare(before, _result(auc=0.91, example_count=300.0)).may_replace


def test_model_that_finds_nothing_in_a_segment_any_more_may_not_replace_one_that_did(models, tmp_path):
    group = np.where(_x() < 0, "low", "high")
    settings = {"metrics": ["precision"], "slices": ["g"], "thresholds": {"precision": 0.01}}
    found = _evaluate(models, tmp_path, {"g": group}, **settings)
    high, low = found.slices if found.slices[0].key["g"] == "high" else found.slices[::-1]
    assert min(high.rows, low.rows) >= 100 and np.isnan(low.metrics["precision"]) and high.metrics["precision"] > 0
    once = dataclasses.replace(low, metrics={**low.metrics, "precision": 0.9})
    before = dataclasses.replace(found, slices=[high, once])
    (reason,) = compare(before, found).reasons
    assert reason == "precision of g=low was 0.9000 and is no number any more, on the same rows"
    assert compare(dataclasses.replace(before, data="of another month"), found).may_replace
    assert compare(found, found).may_replace and compare(found, before).may_replace
    for one, other in (("none", "none"), ("jackknife", "bootstrap")):  # the same rows, without paired intervals
        old, new = dataclasses.replace(before, intervals=one), dataclasses.replace(found, intervals=other)
        assert not compare(old, new).paired and compare(old, new).reasons == [reason]


def test_model_without_false_alarms_may_replace_one_of_which_all_were_false(models, tmp_path):
    nan, names = float("nan"), ("precision", "f1_score", "false_discovery_rate")
    settings = {"metrics": ["precision"], "slices": ["g"], "thresholds": {"precision": 0.01}}
    found = _evaluate(models, tmp_path, {"g": ["a", "b"] * (ROWS // 2)}, **settings)

    def with_values(*values):
        first = dataclasses.replace(found.slices[0], metrics={**found.slices[0].metrics, **dict(zip(names, values))})
        return dataclasses.replace(found, slices=[first, *found.slices[1:]])

    assert compare(with_values(0.0, 0.0, 1.0), with_values(nan, nan, nan)).may_replace
    for some in ((0.1, 0.0, 1.0), (0.0, 0.1, 1.0), (0.0, 0.0, 0.9)):
        assert len(compare(with_values(*some), with_values(nan, nan, nan)).reasons) == 1
    assert compare(_result(precision=0.0, auc=0.9), _result(precision=nan, auc=0.9)).may_replace


@pytest.mark.parametrize(
    ("metric", "worst"),
    [("precision", True), ("recall@0.3", True), ("negative_predictive_value", True), ("r2_score", False)],
)
def test_zero_is_the_worst_of_what_is_never_below_it_alone(metric, worst):
    before, after = ({"auc": 0.9, metric: value} for value in (0.0, float("nan")))
    assert compare(_result(**before), _result(**after)).may_replace == worst
    assert not compare(_result(**{**before, metric: -0.5}), _result(**after)).may_replace


def test_comparison_says_what_its_values_are_not_of():
    before = _result(auc=0.9, example_count=300.0)
    weighted = dataclasses.replace(before, weight="w", query="q")
    assert compare(before, weighted).reasons == ["the weights differ: none and w", "the queries differ: none and q"]
    (reason,) = compare(before, _result(auc=0.8, example_count=300.0)).reasons  # neither was evaluated with intervals
    assert reason.startswith("auc of all rows is worse: 0.9000 to 0.8000, and no change has an interval")


def test_comparison_claims_nothing_of_weights_that_a_file_does_not_say(tmp_path):
    new = dataclasses.replace(_result(auc=0.9), weight="w", query="q", data="d", intervals="jackknife")
    new.save(tmp_path / "new.json")
    stored = json.loads((tmp_path / "new.json").read_text())
    (tmp_path / "old.json").write_text(json.dumps({k: v for k, v in stored.items() if k not in ("weight", "query")}))
    old = EvaluationResult.load(tmp_path / "old.json")
    for before, after in ((old, new), (new, old), (old, old)):
        assert compare(before, after).reasons == [] and not compare(before, after).paired
    assert compare(new, new).paired


def test_sums_of_segments_are_the_same_by_whatever_way_and_bounded(monkeypatch):
    from trainers.evaluation.accumulators import grouped_sums
    from trainers.evaluation.accumulators.row_sums import PinballSums

    rng, parts, kept = np.random.default_rng(7), 4, PinballSums()
    expected = np.zeros((2, 50 * parts))
    for many in (3, 3000):  # few groups that have rows are stored by their numbers
        each, mapping = PinballSums(), rng.permutation(50)[:20]
        groups, rows = rng.integers(0, 20 * parts, many), rng.normal(size=(3, many))
        each.update(groups, *rows)
        stored = PinballSums()
        stored.load(each.arrays())
        kept.add_groups(stored, mapping, parts)
        weight, error = rows[2], rows[0] - rows[1]
        np.add.at(expected, (0, mapping[groups // parts] * parts + groups % parts), weight)
        np.add.at(
            expected,
            (1, mapping[groups // parts] * parts + groups % parts),
            weight * np.maximum(0.5 * error, -0.5 * error),
        )
    np.testing.assert_allclose(kept.padded(50 * parts), expected, atol=1e-12)
    monkeypatch.setattr(grouped_sums, "MOST_BYTES", 1 << 20)
    with pytest.raises(ConfigError, match=r"slices: sums of so many segments take .* GiB"):
        kept.update(np.array([1 << 17]), *np.ones((3, 1)))


def test_no_more_segments_are_reported_than_memory_holds(models, tmp_path, monkeypatch):
    from trainers.evaluation import outcome

    monkeypatch.setattr(outcome, "MOST_REPORTED", 10)
    given = {
        "slices": ["s"],
        "thresholds": {"accuracy": {"min": 0, "slices": [["s"]], "min_rows": 1}},
        "max_segments": 5,
    }
    with pytest.raises(ConfigError, match="20 segments of s would be reported by themselves, at most 10 are"):
        _evaluate(models, tmp_path, {"s": np.arange(ROWS) % 20}, **given)
    assert len(_evaluate(models, tmp_path, {"s": np.arange(ROWS) % 20}, slices=["s"], max_segments=5).slices) == 6
