"""A million classes: batches that fit into memory, the metrics that scikit-learn gives, and what cannot be had of so many named."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as sk

from engine import ConfigError, Dataset
from tests.support.scored_model import save_model
from trainers.evaluation.accumulators.metric_table import Intervals, MetricTable
from trainers.evaluation.evaluate import evaluate
from trainers.evaluation.metrics import check_classes
from trainers.export.predict import LoadedModel
from trainers.serving.predict import predict

FEW, MANY, MILLION = 700, 3000, 1_000_000
NAMES = (
    "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1_score", "weighted_precision", "weighted_recall",
    "weighted_f1_score", "recall@classId:7", "precision@classId:7", "f1_score@classId:699",
)  # fmt: skip


def table(classes, intervals, rows=4000, groups=3, batch=900, pieces=2):
    """A table of the same rows whatever the number of classes: none is of one beyond the first few, nor said to be."""
    rng = np.random.default_rng(3)
    labels = np.minimum(rng.zipf(1.3, rows), FEW - 1).astype(np.float64)
    scores = rng.uniform(size=(rows, FEW)).astype(np.float32)
    scores[np.arange(rows), labels.astype(int)] += 0.55 * (rng.uniform(size=rows) < 0.7)
    scores = np.pad(scores, ((0, 0), (0, classes - FEW)))
    weights, of = rng.integers(1, 4, rows).astype(np.float64), rng.integers(0, groups, rows)
    parts = [MetricTable("multiclass", intervals, classes, NAMES) for _ in range(pieces)]
    for number, start in enumerate(range(0, rows, batch)):
        mine = slice(start, start + batch)
        ids = np.arange(rows)[mine]
        parts[number % pieces].update(of[mine], labels[mine], scores[mine], weights[mine], ids)
    whole, other = parts
    sent = MetricTable("multiclass", intervals, classes, NAMES)
    sent.load(other.arrays())
    whole.merge(sent, np.arange(groups))
    return whole, (labels, scores.argmax(axis=1), weights, of)


@pytest.mark.parametrize("intervals", list(Intervals))
def test_counts_of_many_classes_are_those_of_few_and_of_scikit_learn(intervals):
    dense, _ = table(FEW, intervals)
    sparse, (labels, chosen, weights, of) = table(MANY, intervals)
    found, wanted = sparse.results(3), dense.results(3)
    for name in NAMES:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-12, err_msg=name)
    for group in range(3):
        mine = of == group
        truth, said, weight = labels[mine], chosen[mine], weights[mine]
        for mean in ("macro", "weighted"):
            expected = sk.precision_recall_fscore_support(
                truth, said, average=mean, sample_weight=weight, zero_division=0
            )
            values = [found[f"{mean}_{name}"][group] for name in ("precision", "recall", "f1_score")]
            np.testing.assert_allclose(values, expected[:3], rtol=1e-9)
        recall = sk.recall_score(truth, said, labels=[7], average=None, sample_weight=weight, zero_division=np.nan)
        np.testing.assert_allclose(found["recall@classId:7"][group], recall[0], rtol=1e-9)
    replicates, others = sparse.replicates(3), dense.replicates(3)
    assert (not replicates) == (intervals is Intervals.NONE)
    for name in NAMES if replicates else ():
        np.testing.assert_allclose(replicates[name], others[name], rtol=1e-9, err_msg=name)
    folded, folded_dense = (each.regrouped(np.array([0, 1, 0])).results(2) for each in (sparse, dense))
    for name in NAMES:
        np.testing.assert_allclose(folded[name], folded_dense[name], rtol=1e-12, err_msg=name)


@pytest.fixture(scope="module")
def million(tmp_path_factory):
    """A model of a million classes, whose shape its signature says or leaves open; it is right but for every fourth row."""
    import tensorflow as tf

    def saved(folder, fixed):
        class Model(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="x")])
            def raw_features(self, x):
                chosen = tf.where(x % 4 == 0, (x + 1) % MILLION, x)
                answers = tf.one_hot(chosen, MILLION, 0.75, 2.5e-7)
                return {"p": answers if fixed else tf.reshape(answers, tf.stack([-1, tf.size(x) * 0 + MILLION]))}

        model = Model()
        tf.saved_model.save(model, str(folder / "1"), signatures={"raw_features": model.raw_features})
        return folder

    place = tmp_path_factory.mktemp("million")
    return {fixed: saved(place / str(fixed), fixed) for fixed in (True, False)}


def test_model_of_a_million_classes_is_evaluated_in_batches_that_fit(million, tmp_path):
    x = np.random.default_rng(5).integers(0, MILLION, 40)
    names = ["accuracy", "log_loss", "top_5", "macro_f1", "recall@classId:999999"]
    pq.write_table(pa.table({"x": x, "y": x}), tmp_path / "rows.parquet")
    result = evaluate(million[True], tmp_path / "rows.parquet", "y", metrics=names)
    chosen = np.where(x % 4 == 0, (x + 1) % MILLION, x)
    assert LoadedModel(million[True]).rows_a_call(16384, lambda: None) == 8
    assert result.overall["sparse_categorical_accuracy"] == pytest.approx((chosen == x).mean(), rel=1e-12)
    assert result.overall["macro_f1_score"] == pytest.approx(sk.f1_score(x, chosen, average="macro", zero_division=0))
    total = 0.75 + (MILLION - 1) * 2.5e-7
    loss = -np.log(np.where(chosen == x, 0.75, 2.5e-7) / total).mean()
    assert result.overall["sparse_categorical_crossentropy"] == pytest.approx(loss, rel=1e-5)
    assert np.isnan(result.overall["recall@classId:999999"]) and 0 < result.half_widths["macro_f1_score"] < 1


def test_answers_whose_shape_no_signature_says_are_counted_in_one_row(million, tmp_path):
    rows, model, asked = pa.table({"x": [1, 4, 2]}), LoadedModel(million[False]), []
    first = rows.slice(0, 1).to_batches()[0]
    assert model.rows_a_call(16384, lambda: asked.append("row") or first) == 8 and asked == ["row"]
    assert model.rows_a_call(3, lambda: first) == 3 and model.rows_a_call(16384, lambda: None) == 16384
    pq.write_table(rows, tmp_path / "rows.parquet")
    predict(million[False], tmp_path / "rows.parquet", tmp_path / "out", keep=["x"], num_shards=1)
    found = pa.Table.from_batches(list(Dataset.open(tmp_path / "out").read_batches()))
    answers = found["p"].combine_chunks().flatten().to_numpy().reshape(3, MILLION)
    assert found["x"].to_pylist() == [1, 4, 2] and answers.argmax(axis=1).tolist() == [1, 5, 2]


def test_batches_that_run_out_of_memory_in_the_model_go_in_smaller_ones_with_the_same_results(tmp_path, monkeypatch):
    x = np.random.default_rng(8).normal(3, 2, 3000).astype(np.float32)
    columns = {"x": x, "s0": [f"text {number % 7}" for number in range(len(x))], "y": (x > 3).astype(np.int64)}
    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.table(columns), rows)
    models, answers, seen = save_model(tmp_path), LoadedModel.answers, []

    def measured():
        result = evaluate(models, rows, "y", output="late", slices=["s0"])
        predict(models, rows, tmp_path / "out", num_shards=2)
        return result, pa.Table.from_batches(list(Dataset.open(tmp_path / "out").read_batches()))

    def limited(self, batch):
        seen.append(batch.num_rows)
        if batch.num_rows > 100:
            raise MemoryError("no room for so many")
        return answers(self, batch)

    whole, table = measured()
    monkeypatch.setattr(LoadedModel, "answers", limited)
    cut, other = measured()
    assert max(seen) > 100 and sum(each <= 100 for each in seen) > 60
    assert cut.overall == pytest.approx(whole.overall, rel=1e-6) and len(cut.slices) == 7
    assert cut.half_widths == pytest.approx(whole.half_widths, rel=1e-5)
    np.testing.assert_allclose(other["late"].to_numpy(), table["late"].to_numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("metric", "task", "message"),
    [
        ("auc", "multiclass", "'auc' keeps a curve of each class, and the model has 1,000,000; at most 10,000"),
        ("auc@classId:3", "multiclass", "keeps a curve of each class"),
        ("per_class", "multiclass", "gives metrics of each class"),
        ("hamming_loss", "multilabel", "counts each class by itself"),
    ],
)
def test_what_would_fill_the_memory_is_refused_with_what_can_be_had(metric, task, message):
    with pytest.raises(ConfigError, match=message):
        check_classes([metric], task, MILLION)
    check_classes([metric], task, 10_000)


def test_million_classes_are_refused_curves_by_evaluate_itself(million, tmp_path):
    pq.write_table(pa.table({"x": [1, 2], "y": [1, 2]}), tmp_path / "rows.parquet")
    for metrics in (["auc"], ["accuracy", "per_class"]):
        with pytest.raises(ConfigError, match="at most 10,000 are taken"):
            evaluate(million[True], tmp_path / "rows.parquet", "y", metrics=metrics)
