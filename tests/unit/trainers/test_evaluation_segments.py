"""Segments by buckets and computed features, several outputs, classes by name, rankings and runners: against numpy on the rows."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import ConfigError, DataError
from trainers.evaluation.evaluate import EvaluationResult, evaluate

ROWS = 6000
CLASSES = ("low", "middle", "high")
EVAL_CONFIG = """
model_specs { label_key: "late" example_weight_key: "query" }
slicing_specs {}
slicing_specs { feature_keys: ["carrier"] }
metrics_specs {
  metrics { class_name: "BinaryCrossEntropy" threshold { value_threshold { upper_bound { value: 0.9 } } } }
  metrics { class_name: "AUC"
    per_slice_thresholds { slicing_specs { feature_keys: ["carrier"] }
      threshold { value_threshold { lower_bound { value: 0.99 } } } } }
}
options { min_slice_size { value: 300 } }
"""


def _columns(rows=ROWS, seed=5):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, rows).astype(np.float32)
    x[:50] = 1.25  # many rows of one value
    size = rng.gamma(2.0, 300.0, rows)
    size[rng.uniform(size=rows) < 0.03] = np.nan
    return {
        "x": x,
        "late": (rng.uniform(size=rows) < 1 / (1 + np.exp(-x))).astype(np.int64),
        "amount": (3 * x + rng.normal(size=rows)).astype(np.float32),
        "kind": np.array(CLASSES)[np.clip(np.round(x + rng.normal(0, 0.5, rows)).astype(int) + 1, 0, 2)],
        "size": np.where(np.isnan(size), np.nan, size),
        "carrier": np.array([f"c{int(v)}" for v in rng.zipf(1.4, rows).clip(max=300)]),
        "query": rng.integers(0, 200, rows),
        "gain": rng.choice([0.0, 0.0, 1.0, 2.0], rows),
        "kinds": [[CLASSES[i] for i in np.flatnonzero(each)] for each in rng.uniform(size=(rows, 3)) < 0.4],
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("segments")
    columns = _columns()
    table = pa.table(columns)
    table = table.set_column(4, "size", pa.array(columns["size"], from_pandas=True))
    (folder / "data").mkdir()
    for part in range(3):  # several files, several row groups: several splits
        pq.write_table(table.slice(part * 2000, 2000), folder / "data" / f"rows-{part}.parquet", row_group_size=700)
    (folder / "kinds.txt").write_text("\n".join(CLASSES) + "\n")

    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            self.kinds = tf.saved_model.Asset(str(folder / "kinds.txt"))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def raw_features(self, x):
            closeness = -tf.square(x[:, None] - tf.constant([[-1.0, 0.0, 1.0]]))
            return {"late": tf.sigmoid(x), "amount": 3 * x, "kind": tf.nn.softmax(4 * closeness)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def transform_raw_features(self, x):
            return {"sign": tf.cast(tf.sign(x), tf.int64)[:, None]}

    class WorseForOne(Model):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.float32, name="x"),
                tf.TensorSpec([None], tf.string, name="carrier"),
            ]
        )
        def of_carrier(self, x, carrier):
            return {"late": tf.sigmoid(tf.where(carrier == "c2", -x, x))}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def of_four(self, x):
            return {"kind": tf.nn.softmax(x[:, None] * tf.constant([[-1.0, 0.0, 1.0, 3.0]]))}

    worse = WorseForOne()
    tf.saved_model.save(worse, str(folder / "four" / "1"), signatures={"raw_features": worse.of_four})
    tf.saved_model.save(worse, str(folder / "worse" / "1"), signatures={"raw_features": worse.of_carrier})
    model = Model()
    signatures = {"raw_features": model.raw_features, "transform_raw_features": model.transform_raw_features}
    tf.saved_model.save(model, str(folder / "models" / "1"), signatures=signatures)
    return folder, columns


def _evaluate(made, label="late", **settings):
    return evaluate(made[0] / "models", made[0] / "data", label, **{"output": "late", **settings})


def _loss(y, p):
    p = np.clip(p.astype(np.float64), 1e-7, 1 - 1e-7)
    return -np.mean(np.where(y == 1, np.log(p), np.log1p(-p)))


def _by_name(result):
    return {s.name: s for s in result.slices}


def test_buckets_by_quantiles_and_edges_with_missing_as_its_own(made):
    _, columns = made
    size, x = columns["size"], columns["x"]
    p = 1 / (1 + np.exp(-x.astype(np.float64)))
    for buckets in ({"size": 4}, {"size": [100, 500.5, 1000]}):
        result = _evaluate(made, slices=["size"], buckets=buckets, metrics=["log_loss"])
        known = size[~np.isnan(size)]
        edges = buckets["size"]
        if edges == 4:
            edges = np.quantile(known, [0.25, 0.5, 0.75], method="inverted_cdf")
        places = np.where(np.isnan(size), -1, np.searchsorted(edges, size, side="right"))
        assert len(result.slices) == 5 and sum(s.rows for s in result.slices) == ROWS
        for segment in result.slices:
            text = segment.key["size"]
            place = (
                -1
                if text is None
                else sorted([s.key["size"] for s in result.slices if s.key["size"]], key=_low).index(text)
            )
            mine = places == place
            assert segment.rows == mine.sum()
            assert segment.metrics["binary_crossentropy"] == pytest.approx(
                _loss(columns["late"][mine], p[mine]), abs=1e-6
            )
    assert "size=[500.5, 1000)" in _by_name(result) and "size=(missing)" in _by_name(result)


def _low(text):
    return float(text[1:].split(",")[0])


def test_computed_feature_of_the_graph_crossed_with_a_bucket(made):
    _, columns = made
    result = _evaluate(made, slices=[["sign", "x"]], buckets={"x": [1.25]}, metrics=["mse"], task="binary")
    sign, high = np.sign(columns["x"]).astype(int), columns["x"] >= 1.25
    found = {(s.key["sign"], s.key["x"].startswith("[")): s.rows for s in result.slices}
    assert found == {(s, h): int(((sign == s) & (high == h)).sum()) for s, h in found} and sum(found.values()) == ROWS


def test_limit_puts_the_rest_into_one_segment_but_never_what_a_threshold_judges(made):
    _, columns = made
    carriers, counts = np.unique(columns["carrier"], return_counts=True)
    result = _evaluate(made, slices=["carrier"], metrics=["accuracy", "auc"], max_segments=5)
    assert len(result.slices) == 6 and result.slices[-1].merged == len(carriers) - 5
    assert "others" in result.table() and sum(s.rows for s in result.slices) == ROWS
    kept = {s.key["carrier"] for s in result.slices[:-1]}
    mine = ~np.isin(columns["carrier"], list(kept))
    other = result.slices[-1]
    answers = columns["x"][mine] > 0
    assert other.rows == mine.sum() and other.key == {"carrier": "(other)"}
    assert other.metrics["binary_accuracy"] == pytest.approx(np.mean(answers == columns["late"][mine]))
    judged = {"accuracy": {"min": 0.99, "slices": [["carrier"]], "min_rows": 20, "overall": False}}
    result = _evaluate(made, metrics=["accuracy"], max_segments=5, thresholds=judged)
    assert len(result.failures) == (counts >= 20).sum() == len(result.slices) - 1
    assert result.not_judged == [f"accuracy of carrier: {(counts < 20).sum():,} others: each has fewer than 20 rows"]


def test_several_outputs_and_classes_by_name_in_one_pass(made):
    _, columns = made
    labels = {"late": "late", "amount": "amount", "kind": "kind"}
    result = evaluate(
        made[0] / "models", made[0] / "data", labels, slices=["sign"], metrics={"late": ["auc"], "amount": ["mae"]},
        thresholds={"amount/mae": 10.0, "kind/accuracy": {"min": 1.0}},
    )  # fmt: skip
    x = columns["x"].astype(np.float64)
    assert result.tasks == {"late": "binary", "amount": "regression", "kind": "multiclass"}
    error = np.abs(columns["amount"] - 3 * columns["x"]).astype(np.float64)
    assert result.overall["amount/mean_absolute_error"] == pytest.approx(error.mean(), rel=1e-6)
    kinds = np.argmin(np.abs(x[:, None] - [-1, 0, 1]), axis=1)
    truth = np.array([CLASSES.index(k) for k in columns["kind"]])
    right = np.mean(kinds == truth)
    assert result.overall["kind/sparse_categorical_accuracy"] == pytest.approx(right, abs=1e-3)
    assert result.classes == {"kind": list(CLASSES)} and len(result.failures) == 1
    assert all("kind/sparse_categorical_accuracy" in s.metrics and "late/auc" in s.metrics for s in result.slices)
    with pytest.raises(
        DataError, match=r"rows-0.parquet, record \d+: label 'carrier' is 'c\d+', which the vocabulary of 3"
    ):
        _evaluate(made, "carrier", output="kind")


def test_lists_of_names_are_several_labels_of_a_row(made):
    sklearn = pytest.importorskip("sklearn.metrics")
    _, columns = made
    result = _evaluate(
        made, "kinds", output="kind", metrics=["subset_accuracy", "hamming_loss", "macro_f1", "micro_f1"]
    )
    x = columns["x"].astype(np.float64)
    logits = -4 * (x[:, None] - [-1.0, 0.0, 1.0]) ** 2
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([[name in names for name in CLASSES] for names in columns["kinds"]])
    answers = scores > 0.5
    assert result.tasks == {"": "multilabel"} and {len(names) for names in columns["kinds"]} == {0, 1, 2, 3}
    expected = {
        "subset_accuracy": sklearn.accuracy_score(truth, answers),
        "hamming_loss": sklearn.hamming_loss(truth, answers),
        "macro_f1_score": sklearn.f1_score(truth, answers, average="macro"),
        "micro_f1_score": sklearn.f1_score(truth, answers, average="micro"),
    }
    assert {name: result.overall[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_lists_of_names_by_a_dictionary_are_names_too(made):
    from trainers.evaluation.passes.probe import find_heads
    from trainers.export.predict import LoadedModel

    _, columns = made
    names = pa.array(columns["kinds"][:100])
    kinds = pa.ListArray.from_arrays(names.offsets, names.flatten().dictionary_encode())
    batch = pa.record_batch({"x": columns["x"][:100], "kinds": kinds})
    model = LoadedModel(made[0] / "models", "kind")
    (head,) = find_heads(batch, {"model": model.answers(batch)}, {"model": model}, {"kind": "kinds"}, None, None, None)
    assert (head.task, head.vocabulary) == ("multilabel", CLASSES)


def test_ranking_by_query_column(made):
    sklearn = pytest.importorskip("sklearn.metrics")
    _, columns = made
    result = _evaluate(made, "gain", output="amount", query="query", metrics=["ndcg_at_5", "mrr"])
    found, first = [], []
    for query in range(200):
        mine = columns["query"] == query
        gain, score = columns["gain"][mine], 3 * columns["x"][mine]
        if (gain > 0).any():
            found.append(sklearn.ndcg_score([gain], [score], k=5))
            first.append(1 / min((score >= s).sum() for s in score[gain > 0]))
    assert result.overall["ndcg_at_5"] == pytest.approx(np.mean(found), abs=1e-6)
    assert result.overall["mrr"] == pytest.approx(np.mean(first), abs=1e-6)
    assert 0 < result.half_widths["ndcg_at_5"] < 0.1


def test_beam_workers_and_the_local_runner_give_the_same_result(made, tmp_path):
    settings = {"slices": [["carrier"], ["sign", "size"]], "buckets": {"size": 3}, "max_segments": 10}
    settings |= {"metrics": ["auc", "log_loss", "fairness", "median_absolute_error", "ndcg_at_5"], "query": "query"}
    local = _evaluate(made, **settings, runner_options=["--workers=3"])
    beam = _evaluate(made, **settings, runner="DirectRunner", batch_rows=333, out=tmp_path / "e.json")
    assert beam.rows == local.rows == ROWS and [s.name for s in beam.slices] == [s.name for s in local.slices]
    for one, two in zip([local, *local.slices], [beam, *beam.slices]):
        for name in ("half_widths", "overall" if one is local else "metrics"):
            ours, theirs = getattr(one, name), getattr(two, name)
            assert ours == pytest.approx(theirs, rel=1e-6, nan_ok=True)
    assert {each["metric"] for each in local.fairness} >= {"fpr", "tpr"}
    assert local.curves["confusion"] == beam.curves["confusion"]  # of counts: equal to the bit
    for curve in ("roc", "pr"):  # their thresholds are scores, whose last bit depends on the size of a batch
        for here, there in zip(local.curves[curve], beam.curves[curve], strict=True):
            assert here == pytest.approx(there, rel=1e-6)
    again = EvaluationResult.load(tmp_path / "e.json")
    assert again.as_json() == beam.as_json() == json.loads((tmp_path / "e.json").read_text())
    with pytest.raises(ConfigError, match=r"TjurDiscrimination.*local runner alone"):
        _evaluate(made, metrics=["TjurDiscrimination"], runner="DirectRunner")


def test_baseline_is_held_to_the_same_segments_with_paired_intervals(made):
    both = _evaluate(
        made, slices=["sign"], baseline=made[0] / "models", metrics=["log_loss"],
        thresholds={"log_loss": {"max_change": 0.0, "slices": [["sign"]], "confident": True}},
    )  # fmt: skip
    assert both.failures == [] and both.blessed
    for segment in both.slices:
        assert segment.baseline["binary_crossentropy"] == segment.metrics["binary_crossentropy"]
        assert segment.change_half_widths["binary_crossentropy"] == 0.0 < segment.half_widths["binary_crossentropy"]


def test_baseline_of_other_classes_is_refused(made):
    with pytest.raises(
        ConfigError, match=r"baseline .*four/1 gives 4 answers a row, the model 3; give one of the same"
    ):
        _evaluate(made, "kind", output="kind", baseline=made[0] / "four")


def test_model_made_worse_for_one_carrier_is_refused_and_the_carrier_named(made, tmp_path, capsys):
    from cluster.cli.main import main

    _, columns = made
    bounds = {"min": 0.55, "slices": [["carrier"]], "min_rows": 300}
    settings = {"label": "late", "metrics": ["auc"], "thresholds": {"auc": bounds}}
    good = evaluate(made[0] / "models", made[0] / "data", output="late", out=tmp_path / "good.json", **settings)
    bad = evaluate(made[0] / "worse", made[0] / "data", out=tmp_path / "bad.json", **settings)
    assert good.blessed and not bad.blessed and bad.overall["auc"] > 0.55
    assert (columns["carrier"] == "c2").sum() >= 300
    assert len(bad.failures) == 1 and bad.failures[0].startswith("auc of carrier=c2 is 0.")
    assert main(["compare", str(tmp_path / "bad.json"), str(tmp_path / "good.json")]) == 0
    assert "the second may replace the first" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "good.json"), str(tmp_path / "bad.json"), "--format", "md"]) == 3
    said = capsys.readouterr().out
    assert said.startswith("# The second may not replace the first") and "* auc of carrier=c2 is 0." in said
    assert (
        "| carrier=c2 |" in said and "| worse |" in said and "95 % intervals of the difference on the same rows" in said
    )
    assert main(["compare", str(tmp_path / "good.json"), str(tmp_path / "bad.json"), "--format", "json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["paired"] and {e["segment"] for e in found["changes"] if e["verdict"] == "worse"} == {
        "all rows",
        "carrier=c2",
    }


def test_command_takes_tfmas_config_and_writes_what_tfma_reads(made, tmp_path, capsys):
    tfma = pytest.importorskip("tensorflow_model_analysis")
    from cluster.cli.main import main

    folder, columns = made
    (tmp_path / "eval.pbtxt").write_text(EVAL_CONFIG)
    words = ["evaluate", str(folder / "data"), "--model", str(folder / "models"), "--output", "late", "--tfma"]
    words += ["--eval-config", str(tmp_path / "eval.pbtxt"), "--out", str(tmp_path / "e.json")]
    assert main(words) == 3  # the second threshold cannot be met
    assert "AUC of carrier=c1 is 0." in capsys.readouterr().out
    read = tfma.load_eval_result(str(tmp_path / "e.tfma"))
    found = {key: metrics[""][""] for key, metrics in read.slicing_metrics}
    carriers, counts = np.unique(columns["carrier"], return_counts=True)
    assert set(found) == {(), *((("carrier", name),) for name in carriers[counts >= 300])}
    for key, metrics in found.items():
        mine = columns["carrier"] == dict(key)["carrier"] if key else np.ones(ROWS, bool)
        p = 1 / (1 + np.exp(-columns["x"][mine].astype(np.float64)))
        y, w = columns["late"][mine], columns["query"][mine]
        loss = -np.average(np.where(y == 1, np.log(p), np.log1p(-p)), weights=w)
        bounds = metrics["binary_crossentropy"]["boundedValue"]
        assert bounds["value"] == pytest.approx(loss, abs=1e-6) and bounds["lowerBound"] < loss < bounds["upperBound"]
    verdict = tfma.load_validation_result(str(tmp_path / "e.tfma"))
    messages = [failure.message for each in verdict.metric_validations_per_slice for failure in each.failures]
    assert not verdict.validation_ok and len(messages) == len(found) - 1
    assert all(message.startswith("AUC of carrier=c") for message in messages)
    words[words.index("--out") :] = []
    assert main(words) == 2 and "TFMA's files go beside the result; give out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"buckets": {"size": 4}}, r"buckets: column 'size' is in no slice; slices have none"),
        ({"buckets": {"size": 1}, "slices": ["size"]}, r"buckets.size = 1: a number of buckets is from 2"),
        ({"buckets": {"size": [5, 5]}, "slices": ["size"]}, r"edges must ascend"),
        (
            {"buckets": {"carrier": 4}, "slices": ["carrier"]},
            r"column 'carrier' is (large_)?string; buckets are of numbers",
        ),
        (
            {"output": "kind", "label": "kind", "label_vocabulary": "none.txt"},
            r"none.txt' not found; the model's assets are kinds",
        ),
        ({"task": "multiclass"}, r"task 'multiclass' does not fit output 'late' of 1 answers"),
        ({"output": "amount", "task": "binary"}, r"answer is outside of \[0, 1\].*task = 'regression'"),
        ({"max_segments": 0}, r"max_segments is 0"),
    ],
)
def test_what_cannot_work_says_why(made, change, message):
    with pytest.raises((ConfigError, DataError), match=message):
        _evaluate(made, **{"label": "late", **change})
