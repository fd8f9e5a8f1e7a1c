"""Metrics by segment are those that Keras, numpy and TFMA itself compute, and thresholds decide as they say."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import ConfigError, DataError, Dataset
from tests.support import flights as data
from trainers.evaluation.evaluate import EvaluationResult, SliceResult, evaluate, parse_thresholds
from trainers.evaluation.judgement import failures

ROWS = 8000


@pytest.fixture(scope="module")
def flights(tmp_path_factory):
    from trainers.export.export import export_saved_model

    made = data.make_flights(tmp_path_factory.mktemp("flights"), ROWS)
    settings = {"transform_graph": made.graph, "raw_feature_spec": made.spec, "label": data.LABEL}
    export_saved_model(made.model, made.directory / "models", **settings)
    return made


@pytest.fixture(scope="module")
def answers(flights):
    """Labels and probabilities of each row, from the model in memory."""
    features = {k: v for k, v in flights.transformed.items() if k != data.LABEL}
    return flights.transformed[data.LABEL], flights.model.predict(features, batch_size=4096, verbose=0)[:, 0]


@pytest.fixture(scope="module")
def result(flights):
    return evaluate(
        flights.directory / "models",
        flights.raw,
        data.LABEL,
        slices=["carrier", ["origin"], ["carrier", "origin"], ["dest"]],
        thresholds={"auc": 0.6},
        batch_rows=1000,
    )


def exact_auc(labels, predictions):
    """The share of pairs of a positive and a negative that are in order, ties half: the definition of AUC."""
    order = np.sort(predictions[labels == 0])
    positive = predictions[labels == 1]
    below, not_above = np.searchsorted(order, positive, "left"), np.searchsorted(order, positive, "right")
    return float((below + not_above).sum() / 2 / len(order) / len(positive))


def test_evaluate_overall_equals_keras_metrics(result, answers):
    import keras

    labels, predictions = answers
    assert result.rows == ROWS and result.overall["example_count"] == ROWS
    for name, metric in {
        "auc": keras.metrics.AUC(num_thresholds=10000),
        "auc_precision_recall": keras.metrics.AUC(num_thresholds=10000, curve="PR"),
        "binary_crossentropy": keras.metrics.BinaryCrossentropy(),
        "binary_accuracy": keras.metrics.BinaryAccuracy(),
        "precision": keras.metrics.Precision(),
        "recall": keras.metrics.Recall(),
    }.items():
        metric.update_state(labels[:, None], predictions[:, None])
        assert result.overall[name] == pytest.approx(float(metric.result()), abs=2e-5), name
    assert result.overall["auc"] == pytest.approx(exact_auc(labels, predictions), abs=1e-3)
    assert result.overall["calibration"] == pytest.approx(predictions.sum(dtype=np.float64) / labels.sum(), rel=1e-6)


def test_evaluate_segments_equal_numpy_and_reconcile(flights, result, answers):
    labels, predictions = answers
    frame = flights.table.to_pandas()
    for columns in (("carrier",), ("origin",), ("carrier", "origin"), ("dest",)):
        segments = [s for s in result.slices if tuple(s.key) == columns]
        assert sum(s.rows for s in segments) == ROWS
        assert len(segments) == len(frame[list(columns)].drop_duplicates())
        assert [s.rows for s in segments] == sorted((s.rows for s in segments), reverse=True)
        for segment in segments:
            mine = np.ones(ROWS, bool)
            for name, value in segment.key.items():
                mine &= frame[name].isna().to_numpy() if value is None else (frame[name] == value.encode()).to_numpy()
            assert segment.rows == mine.sum()
            clipped = np.clip(predictions[mine].astype(np.float64), 1e-7, 1 - 1e-7)
            loss = -np.mean(np.where(labels[mine] == 1, np.log(clipped), np.log1p(-clipped)))
            assert segment.metrics["binary_crossentropy"] == pytest.approx(loss, rel=1e-5)
            assert segment.metrics["binary_accuracy"] == pytest.approx(
                np.mean((predictions[mine] > 0.5) == labels[mine])
            )
            if 0 < labels[mine].sum() < mine.sum():
                assert segment.metrics["auc"] == pytest.approx(exact_auc(labels[mine], predictions[mine]), abs=2e-3)
            else:
                assert math.isnan(segment.metrics["auc"]) or segment.metrics["auc"] == 0.0


def test_evaluate_result_does_not_depend_on_batch_size(flights, result):
    other = evaluate(flights.directory / "models/1", flights.raw, data.LABEL, slices=["carrier"], batch_rows=3777)
    mine = [s for s in result.slices if tuple(s.key) == ("carrier",)]
    assert [(s.name, s.rows) for s in mine] == [(s.name, s.rows) for s in other.slices]
    for one, two in zip([result, *mine], [other, *other.slices]):
        ours, theirs = (r.overall if isinstance(r, EvaluationResult) else r.metrics for r in (one, two))
        # A row's last bit may depend on where in its batch it stands, and makes or ends a tie of two rows.
        assert ours == pytest.approx(theirs, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("task", ["binary", "regression", "multiclass"])
def test_metrics_of_our_accumulators_equal_tfma_row_by_row(task):
    from trainers.evaluation.accumulators.metric_table import MetricTable
    from trainers.evaluation.metrics import default_metrics, own_results
    from trainers.evaluation.tfma.kernels import MetricSet

    rng, rows = np.random.default_rng(5), 600
    predictions = rng.beta(0.5, 0.9, rows)
    predictions[:40] = 0.5
    labels = (rng.uniform(size=rows) < predictions).astype(float)
    if task == "regression":
        labels = rng.normal(size=rows)
    if task == "multiclass":
        predictions, labels = rng.dirichlet([1, 1, 1], rows), rng.integers(0, 3, rows).astype(float)
    weights = rng.choice([0.5, 1, 2], rows)
    names = [*default_metrics(task), *(["fairness", "f1"] if task == "binary" else [])]
    wanted, others = own_results(names, task, 3)
    assert not others and len(wanted) >= len(default_metrics(task))
    rates = ["FPR", "FNR", "TPR", "TNR", "PredictedPositiveRate", "FalseDiscoveryRate", "FalseOmissionRate"]
    theirs = MetricSet([part for name in names for part in (rates if name == "fairness" else [name])])
    table = MetricTable(task, classes=3)
    state = theirs.create()
    for start in range(0, rows, 170):
        part = slice(start, start + 170)
        ids = np.arange(rows)[part]
        table.update(np.zeros(len(ids), np.int64), labels[part], predictions[part], weights[part], ids)
        theirs.update(state, labels[part], predictions[part].astype(np.float32), weights[part].astype(np.float32))
    ours = {name: values[0] for name, values in table.results(1).items() if name in wanted}
    # TFMA adds a row at a time in float32's probabilities, and has other buckets for its areas.
    assert ours == pytest.approx({name: theirs.result(state)[name] for name in wanted}, rel=2e-4)


def test_ndcg_equals_tfma_query_by_query():
    from tensorflow_model_analysis.metrics import NDCG
    from tensorflow_model_analysis.metrics.metric_types import StandardMetricInputs

    from trainers.evaluation.accumulators.ranking import RankedRows

    rng, rows = np.random.default_rng(8), 900
    queries, scores = (
        rng.integers(0, 80, rows),
        rng.permutation(rows).astype(float),
    )  # no ties: TFMA orders them as it likes
    gains = np.where(queries == 7, 0.0, rng.choice([0.0, 0.0, 1.0, 2.0, 5.0], rows))  # a query without anything to find
    weights = rng.choice([0.5, 1.0, 3.0], 80)
    computations = NDCG(gain_key="gain", top_k_list=[2, 10, 100]).computations(
        sub_keys=[None], query_key="query", example_weighted=True
    )
    (combiner,) = [each.combiner for each in computations]
    state = combiner.create_accumulator()
    for query in range(80):
        mine = queries == query
        features = {"query": np.array([query] * mine.sum()), "gain": gains[mine]}
        values = {"labels": gains[mine], "predictions": scores[mine], "example_weights": weights[[query]]}
        state = combiner.add_input(state, StandardMetricInputs({**values, "features": features}))
    theirs = {f"ndcg_at_{key.sub_key.top_k}": value for key, value in combiner.extract_output(state).items()}
    table = RankedRows(list(theirs))
    for part in np.array_split(rng.permutation(rows), 7):
        table.update(np.zeros(len(part), np.int64), queries[part], gains[part], scores[part], weights[queries[part]])
    ours = {name: values[0] for name, values in table.results(1).items()}
    assert len(theirs) == 3 and ours == pytest.approx(theirs, abs=1e-9)


def test_evaluate_against_baseline_measures_both_on_same_rows(flights, result):
    both = evaluate(
        flights.directory / "models",
        flights.raw,
        data.LABEL,
        baseline=flights.directory / "models",
        thresholds={"auc": {"min_change": 0.0}, "log_loss": {"max_change": -0.1}},
    )
    assert both.baseline is not None and both.baseline["auc"] == both.overall["auc"]
    assert both.failures == [
        f"log_loss changed by +0.0000 against the baseline ({both.overall['binary_crossentropy']:.4f} to "
        f"{both.overall['binary_crossentropy']:.4f}), at most -0.1 is allowed"
    ]


def test_evaluate_written_result_reads_back_equal(flights, result, tmp_path):
    path = tmp_path / "deep" / "evaluation.json"
    result.save(path)
    again = EvaluationResult.load(path)
    assert again.blessed and again.as_json() == result.as_json() == json.loads(path.read_text())
    assert [p.name for p in sorted(path.parent.iterdir())] == ["evaluation.json", "evaluation.md"]
    assert "carrier=UA" in path.with_suffix(".md").read_text()
    path.write_text("{}")
    with pytest.raises(DataError, match="evaluate again"):
        EvaluationResult.load(path)


def test_table_shows_largest_segments_and_says_how_many_more(result):
    text = result.table(show=3)
    assert "all rows" in text and "8,000" in text and "blessed: all thresholds are met" in text
    assert text.count("dest=") == 3 and "more segments of dest" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "lateness"}, r"label 'lateness': neither the data nor the model"),
        ({"label": "carrier"}, r"label 'carrier' is text"),
        ({"slices": ["airline"]}, r"slices: column 'airline' not found; available columns: carrier, origin"),
        ({"slices": [[]]}, r"at least one column"),
        ({"metrics": ["Nonsense"]}, r"Nonsense"),
        ({"output": "other"}, r"output 'other' not found; .* has outputs"),
        ({"weight": "none"}, r"weight 'none'"),
        ({"model_dir": "/nowhere"}, r"/nowhere: no SavedModel"),
        ({"thresholds": {"f2": 1}}, r"thresholds.f2: no such metric; computed are auc"),
    ],
)
def test_evaluate_of_what_is_not_there_says_what_is(flights, change, message):
    settings = {"model_dir": flights.directory / "models", "data": flights.raw, "label": data.LABEL, **change}
    with pytest.raises(ConfigError, match=message):
        evaluate(settings.pop("model_dir"), settings.pop("data"), settings.pop("label"), **settings)


def test_evaluate_data_without_feature_of_model_names_it(flights, tmp_path):
    pq.write_table(flights.table.drop_columns(["distance"]), tmp_path / "part.parquet")
    with pytest.raises(
        ConfigError,
        match=r"the model takes feature 'distance': column 'distance' not found; available columns: carrier",
    ):
        evaluate(flights.directory / "models", tmp_path, "hour")


def test_evaluate_row_without_label_is_refused_with_its_number(flights, tmp_path):
    column = flights.table["hour"].to_pylist()
    column[4321] = None
    table = flights.table.append_column(
        "seen", pa.array([None if v is None else float(v) for v in column], pa.float32())
    )
    pq.write_table(table, tmp_path / "part.parquet")
    with pytest.raises(DataError, match=r"record 4321: label 'seen' has no value"):
        evaluate(flights.directory / "models", Dataset.open(tmp_path), "seen")


def test_thresholds_bounds_segments_and_gaps_are_judged():
    def segment(name, rows, auc):
        return SliceResult(key={"carrier": name}, rows=rows, metrics={"auc": auc, "fpr": 0.1})

    slices = [segment("AA", 900, 0.95), segment("UA", 500, 0.85), segment("OO", 20, 0.1), segment("YV", 300, math.nan)]
    overall = {"auc": 0.91, "fpr": 0.1}

    def judged(**table):
        return failures(parse_thresholds(table), overall, slices, None)

    assert judged(auc=0.9, fpr=0.2) == []
    assert judged(auc=0.92) == ["auc of all rows is 0.9100, at least 0.92 is needed"]
    assert judged(fpr=0.05) == ["fpr of all rows is 0.1000, at most 0.05 is allowed"]
    assert judged(auc={"min": 0.9, "slices": [["carrier"]]}) == ["auc of carrier=UA is 0.8500, at least 0.9 is needed"]
    assert len(judged(auc={"min": 0.9, "slices": [["carrier"]], "min_rows": 10})) == 2
    assert judged(auc={"max_gap": 0.05, "slices": [["carrier"]]}) == [
        "auc differs by 0.1000 between carrier=UA (0.8500) and carrier=AA (0.9500), at most 0.05 is allowed"
    ]
    with pytest.raises(ConfigError, match="needs a baseline"):
        judged(auc={"min_change": 0.0})
    with pytest.raises(ConfigError, match="was not evaluated"):
        judged(auc={"min": 0.1, "slices": [["origin"]]})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"auc": "high"}, "thresholds.auc = 'high'"),
        ({"auc": {"least": 1}}, "thresholds.auc.least: unknown key; the keys allowed here are min"),
        ({"auc": {"min": True}}, "thresholds.auc.min = True"),
        ({"auc": {}}, "no bound"),
        ({"auc": {"min_rows": 5}}, "no bound"),
        ({"auc": {"max_gap": 0.1}}, "give slices"),
        ({"auc": {"min": 1, "slices": ["carrier"]}}, "list of lists"),
        ({"auc": {"min": 1, "min_rows": 0}}, "whole number"),
    ],
)
def test_thresholds_with_mistake_name_its_key(table, message):
    with pytest.raises(ConfigError, match=message):
        parse_thresholds(table)


def test_unjudged_model_is_not_blessed(flights):
    result = evaluate(flights.directory / "models", flights.raw, data.LABEL, metrics=["auc"])
    assert not result.failures and not result.judged and not result.blessed


@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
def test_predict_writes_every_row_in_order_with_kept_columns(flights, answers, tmp_path, format):
    from engine import Dataset
    from trainers.serving.predict import predict

    report = predict(
        flights.directory / "models", flights.raw, tmp_path / "out", keep=["carrier"], format=format, num_shards=3
    )
    found = Dataset.open(tmp_path / "out")
    table = pa.Table.from_batches(list(found.read_batches()))
    assert report.rows == found.num_records == ROWS and len(found.paths) == 3
    (output,) = set(report.columns) - {"carrier"}
    np.testing.assert_allclose(table[output].to_numpy(), answers[1], rtol=1e-6)
    assert table["carrier"].to_pylist() == flights.table["carrier"].to_pylist()


def test_predict_names_what_is_not_there_and_leaves_nothing(flights, tmp_path):
    from trainers.serving.predict import predict

    for options, message in (({"keep": ["nobody"]}, "nobody"), ({"outputs": ["other"]}, "the model has")):
        with pytest.raises(ConfigError, match=message):
            predict(flights.directory / "models", flights.raw, tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


def test_record_that_never_fits_into_memory_is_named_with_its_file(tmp_path):
    from trainers.evaluation.passes.evaluation_pass import NumberedReader, answered, cutter_of, numbered_splits

    class Greedy:
        def answers(self, batch):
            if 37 in batch.column("x").to_pylist():
                raise MemoryError("no")
            return {}

    pq.write_table(pa.table({"x": np.arange(100)}), tmp_path / "rows.parquet")
    dataset = Dataset.open(str(tmp_path / "rows.parquet"))
    (split,), reader = numbered_splits(dataset), NumberedReader(schema=dataset.schema, columns=("x",), batch_rows=30)
    cut = cutter_of({"model": Greedy()})
    with pytest.raises(DataError, match="one record takes more memory") as found:
        for batch in reader.read(split):
            list(answered(cut, batch))
    assert found.value.path == str(tmp_path / "rows.parquet") and found.value.record == 37
