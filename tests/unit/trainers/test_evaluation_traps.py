"""What an evaluation took in silence: bounds that nothing misses, infinite weights, bytes that are no text, one class a row."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import ConfigError, DataError
from trainers.evaluation.comparison import compare
from trainers.evaluation.evaluate import evaluate
from trainers.evaluation.result import EvaluationResult
from trainers.evaluation.thresholds import parse_thresholds

ROWS = 400


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    import tensorflow as tf

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def raw_features(self, x):
            return {"late": tf.sigmoid(x), "logit": x, "kind": tf.nn.softmax(tf.stack([x, -x, 0 * x], 1))}

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
    names = pa.array([b"\xff", b"\xfe", "\u00e9".encode(), None] * (ROWS // 4))
    result = _evaluate(models, tmp_path, {"s": names, "f": [0.0, -0.0] * (ROWS // 2)}, slices=["s", "f"])
    assert {(s.name, s.rows) for s in result.slices} == {
        ("s=\\xff", 100), ("s=\\xfe", 100), ("s=\u00e9", 100), ("s=(missing)", 100), ("f=0.0", ROWS),
    }  # fmt: skip


def test_segments_by_what_is_not_one_value_are_refused_by_name(models, tmp_path):
    for values in ([{"a": 1}] * ROWS, [[1, 2]] * ROWS):
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
