"""TFMA's EvalConfig is understood or refused by name, and TFMA itself reads the files of a result."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine import ConfigError
from trainers.evaluation.result import EvaluationResult, SliceResult
from trainers.evaluation.tfma.eval_config import read_eval_config
from trainers.evaluation.thresholds import Threshold

pytest.importorskip("tensorflow_model_analysis")

CONFIG = """
model_specs { label_key: "tips" example_weight_key: "w" }
slicing_specs {}
slicing_specs { feature_keys: ["hour"] }
slicing_specs { feature_keys: ["day"] feature_values { key: "hour" value: "3" } }
metrics_specs {
  metrics { class_name: "ExampleCount" }
  metrics { class_name: "AUC" threshold { value_threshold { lower_bound { value: 0.6 } } } }
  metrics { class_name: "BinaryAccuracy"
    threshold { change_threshold { absolute { value: -0.01 } direction: HIGHER_IS_BETTER } }
    per_slice_thresholds { slicing_specs { feature_keys: ["hour"] }
      threshold { value_threshold { lower_bound { value: 0.5 } upper_bound { value: 1.0 } } } } }
  metrics { class_name: "Precision" config: '"thresholds": [0.3, 0.5]' }
  metrics { class_name: "FairnessIndicators" config: '"thresholds": [0.25]' }
  metrics { class_name: "CalibrationPlot" }
}
metrics_specs {
  binarize { class_ids { values: [0, 2] } }
  metrics { class_name: "Recall" }
}
metrics_specs {
  aggregate { macro_average: true }
  metrics { class_name: "AUC" }
}
metrics_specs {
  query_key: "session"
  metrics { class_name: "NDCG" config: '"gain_key": "tips", "top_k_list": [5, 10]' }
}
options {
  compute_confidence_intervals { value: true }
  confidence_intervals { method: JACKKNIFE }
  min_slice_size { value: 50 }
}
"""


LABEL = "model_specs { label_key: 'y' }"


def _read(tmp_path, text):
    (tmp_path / "eval.pbtxt").write_text(text)
    return read_eval_config(tmp_path / "eval.pbtxt")


def test_eval_config_becomes_settings(tmp_path):
    found = _read(tmp_path, CONFIG)
    assert dict(found.labels) == {"": "tips"} and (found.weight, found.query) == ("w", "session")
    assert found.slices == (("hour",), ("day", "hour"))
    assert found.metrics == (
        "AUC", "BinaryAccuracy", "Precision@0.3", "Precision", "fairness@0.25", "recall@classId:0", "recall@classId:2",
        "macro_auc", "ndcg_at_5", "ndcg_at_10",
    )  # fmt: skip
    assert found.thresholds == (
        Threshold(metric="AUC", min=0.6, min_rows=50),
        Threshold(metric="BinaryAccuracy", min_change=-0.01, min_rows=50),
        Threshold(metric="BinaryAccuracy", min=0.5, max=1.0, slices=(("hour",),), min_rows=50, overall=False),
    )
    assert (found.intervals, found.min_rows) == ("jackknife", 50)
    assert found.reports(SliceResult(key={"day": 1, "hour": 3}, rows=60, metrics={}))
    assert not found.reports(SliceResult(key={"day": 1, "hour": 4}, rows=60, metrics={}))
    assert not found.reports(SliceResult(key={"hour": 4}, rows=49, metrics={}))
    for value in (3.0, "3", True, None):  # a number is the value, however it is written; a text is its letters
        assert found.reports(SliceResult(key={"day": 1, "hour": value}, rows=60, metrics={})) == (value in (3.0, "3"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense: 1", "no proto text of an EvalConfig"),
        ("metrics_specs {}", "0 models in model_specs"),
        ("model_specs { name: 'x' }", "label_key is missing"),
        ("cross_slicing_specs {}", "cross_slicing_specs has no counterpart"),
        (
            "slicing_specs { slice_keys_sql: 'SELECT' }",
            "slice_keys_sql = .*SELECT.* has no counterpart",
        ),
        (
            "metrics_specs { metrics { class_name: 'AUC' threshold { change_threshold { relative { value: 1 } } } } }",
            "change_threshold.relative of .* has no counterpart",
        ),
        (
            "metrics_specs { metrics { class_name: 'AUC' config: '{\"summation_method\": \"majoring\"}' } }",
            "AUC has the setting 'summation_method', which has no counterpart",
        ),
        (
            "metrics_specs { metrics { class_name: 'BinaryCrossentropy' config: '{\"label_smoothing\": 0.1}' } }",
            "BinaryCrossentropy has the setting 'label_smoothing', which has no counterpart",
        ),
        (
            "metrics_specs { metrics { class_name: 'AUC' config: '{\"curve\": \"PR\"}' } aggregate { macro_average: true } }",
            "AUCPrecisionRecall with aggregate has no counterpart",
        ),
        ("model_specs { label_key: 'y' signature_name: 'scores' }", "model_specs.signature_name is 'scores'"),
        ("model_specs { label_key: 'y' model_type: 'tf_lite' }", "model_specs.model_type is 'tf_lite'"),
        (
            "model_specs { label_key: 'y' prediction_keys { key: 'a' value: 'b' } }",
            "prediction_keys of output 'a' is 'b'",
        ),
        ("metrics_specs { output_names: ['a', 'b'] }", "outputs a, b, and one label; give label_keys"),
        (
            "model_specs { label_keys { key: 'a' value: 'y' } } metrics_specs { output_names: 'b' }",
            "output_names ..b.. have no label in label_keys",
        ),
        ("metrics_specs { model_names: 'other' }", "model_names ..other.. have no counterpart"),
        (
            "model_specs { label_key: 'y' example_weight_key: 'w' } "
            "metrics_specs { metrics { class_name: 'AUC' } example_weights { unweighted: true } }",
            "example_weights.unweighted has no counterpart",
        ),
        (
            "model_specs { label_key: 'y' example_weight_key: 'w' } metrics_specs { metrics { class_name: 'WeightedExampleCount' "
            "threshold { value_threshold { lower_bound { value: 10 } } } } }",
            "threshold of WeightedExampleCount has no counterpart here beside example_weight_key",
        ),
        (
            "model_specs { label_key: 'y' example_weight_key: 'w' } metrics_specs { metrics { class_name: 'WeightedExampleCount' "
            "config: '\"name\": \"w\"' } thresholds { key: 'w' value { value_threshold { lower_bound { value: 10 } } } } }",
            "threshold of WeightedExampleCount has no counterpart here beside example_weight_key",
        ),
        ("metrics_specs { metrics { class_name: 'AUC' module: 'mine' } }", "AUC of module 'mine' has no counterpart"),
        ("metrics_specs { metrics { class_name: 'AUC' module: 'mine.metrics' } }", "AUC of module 'mine.metrics'"),
        (
            "metrics_specs { query_key: 'q' metrics { class_name: 'NDCG' config: '\"gain_key\": \"gain\"' } }",
            "NDCG has gain_key 'gain'; the gain is the label here, 'y'",
        ),
        (
            "metrics_specs { binarize { k_list { values: 3 } } metrics { class_name: 'NDCG' } }",
            "NDCG takes top_k_list alone",
        ),
        (
            "metrics_specs { metrics { class_name: 'AUC' threshold { change_threshold { absolute { value: 0 } } } } }",
            "change_threshold of AUC has no direction",
        ),
        (
            "metrics_specs { metrics { class_name: 'AUC' threshold { value_threshold { lower_bound { value: nan } } } } }",
            "thresholds.AUC.min = nan: it must be a number",
        ),
        ("options { include_default_metrics { value: true } }", "include_default_metrics has no counterpart"),
    ],
)
def test_eval_config_without_counterpart_is_refused_by_name(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        _read(tmp_path, text if "model_specs" in text or text == "metrics_specs {}" else f"{LABEL} {text}")


def test_eval_config_names_the_output_and_counts_of_rows(tmp_path):
    for text in (
        "model_specs { label_key: 'y' prediction_key: 'late' }",
        f"{LABEL} metrics_specs {{ output_names: 'late' }}",
    ):
        assert _read(tmp_path, text).output == "late"
    several = "model_specs { label_keys { key: 'a' value: 'y' } } metrics_specs { output_names: 'a' metrics { class_name: 'AUC' } }"
    assert _read(tmp_path, several).output == ""
    rows = "metrics { class_name: 'ExampleCount' threshold { value_threshold { lower_bound { value: 10 } } } }"
    (bound,) = _read(tmp_path, f"{LABEL} metrics_specs {{ {rows} }}").thresholds
    assert (bound.metric, bound.min) == ("example_count", 10)


@pytest.mark.parametrize("weight", ["", "w"])
def test_specs_of_tfma_s_own_helpers_are_taken(tmp_path, weight):
    import tensorflow_model_analysis as tfma
    import tf_keras
    from google.protobuf import text_format
    from tensorflow_model_analysis.proto import config_pb2

    def read(specs):
        model = config_pb2.ModelSpec(label_key="y", example_weight_key=weight)
        return _read(
            tmp_path, text_format.MessageToString(config_pb2.EvalConfig(model_specs=[model], metrics_specs=specs))
        )

    metrics = [
        tf_keras.metrics.AUC(),
        tf_keras.metrics.MeanSquaredLogarithmicError(),
        tf_keras.losses.BinaryCrossentropy(),
    ]
    found = read(tfma.metrics.specs_from_metrics(metrics))
    assert found.metrics == ("AUC", "MeanSquaredLogarithmicError", "BinaryCrossentropy") and found.weight == weight
    assert read(tfma.metrics.default_binary_classification_specs()).metrics == (
        "BinaryAccuracy", "AUC", "AUCPrecisionRecall", "Precision", "Recall", "MeanLabel", "MeanPrediction", "Calibration",
        "BinaryCrossentropy",
    )  # fmt: skip


def test_bound_is_of_its_own_metric_where_several_are_of_a_class(tmp_path):
    bound = "threshold { value_threshold { lower_bound { value: %s } } }"
    metrics = " ".join(
        f"metrics {{ class_name: 'AUC' config: '\"curve\": \"{curve}\"' {bound % least} }}"
        for curve, least in (("ROC", 0.9), ("PR", 0.3))
    )
    found = _read(tmp_path, f"{LABEL} metrics_specs {{ {metrics} }}")
    assert [(each.metric, each.min) for each in found.thresholds] == [("AUC", 0.9), ("AUCPrecisionRecall", 0.3)]


def test_tfma_reads_the_files_of_a_result(tmp_path):
    import tensorflow_model_analysis as tfma

    from trainers.evaluation.tfma.result_files import write_tfma_files

    metrics = {"auc": 0.75, "macro_f1_score": 0.5, "recall@classId:2": 0.25, "example_count": 300.0}
    segments = [
        SliceResult(key={"carrier": "AA", "day": 3}, rows=200, metrics=metrics, half_widths={"auc": 0.1}),
        SliceResult(key={"carrier": None, "day": 4}, rows=60, metrics={**metrics, "auc": math.nan}),
        SliceResult(key={"carrier": "(other)", "day": "(other)"}, rows=40, metrics=metrics, merged=7),
    ]
    result = EvaluationResult(
        model="models/1", model_sha256="0", label="late", rows=300, overall=metrics, half_widths={"auc": 0.05},
        slices=segments, judged=True, failures=["auc of carrier=AA is 0.7500, at least 0.8 is needed"], intervals="jackknife",
    )  # fmt: skip
    out = str(tmp_path / "evaluation.tfma")
    write_tfma_files(result, out)
    write_tfma_files(result, out)  # again, over its own
    read = tfma.load_eval_result(out)
    found = dict(read.slicing_metrics)
    assert set(found) == {(), (("carrier", "AA"), ("day", 3)), (("carrier", "(missing)"), ("day", 4))}
    assert found[()][""][""]["auc"]["boundedValue"] == pytest.approx(
        {"value": 0.75, "lowerBound": 0.7, "upperBound": 0.8}
    )
    assert found[()][""]["classId:2"]["recall"]["doubleValue"] == 0.25
    assert math.isnan(float(found[(("carrier", "(missing)"), ("day", 4))][""][""]["auc"]["doubleValue"]))
    assert read.config.model_specs[0].label_key == "late" and read.model_location == "models/1"
    overall = next(each for each in tfma.load_metrics(out) if not each.slice_key.single_slice_keys)
    (auc,) = [each for each in overall.metric_keys_and_values if each.key.name == "auc"]
    assert auc.confidence_interval.lower_bound.double_value.value == pytest.approx(0.7)
    (macro,) = [each.key for each in overall.metric_keys_and_values if each.key.name == "f1_score"]
    assert macro.aggregation_type.macro_average
    verdict = tfma.load_validation_result(out)
    assert not verdict.validation_ok
    assert verdict.metric_validations_per_slice[0].failures[0].message == result.failures[0]


def _of_tfma(computations, labels, predictions, weights):
    """The last of computations as TFMA runs them, row by row."""
    from tensorflow_model_analysis.metrics import metric_types

    found = {}
    for each in computations:
        if not isinstance(each, metric_types.MetricComputation):
            found.update(each.result(found))
            continue
        state = each.combiner.create_accumulator()
        for row in zip(labels, predictions, weights):
            of = {k: np.array([v]) for k, v in zip(("labels", "predictions", "example_weights"), row)}
            inputs = metric_types.StandardMetricInputs(of)
            for preprocessor in each.preprocessors or ():
                (inputs,) = preprocessor.process(inputs)
            state = each.combiner.add_input(state, inputs)
        found.update(each.combiner.extract_output(state))
    return list(found.values())[-1]


def test_tfma_reads_the_plots_and_they_are_those_that_it_computes(tmp_path):
    import tensorflow_model_analysis as tfma
    from tensorflow_model_analysis.metrics.binary_confusion_matrices import binary_confusion_matrices

    from trainers.evaluation.accumulators.score_histogram import ScoreHistogram
    from trainers.evaluation.passes.curves import Curves
    from trainers.evaluation.tfma.result_files import write_tfma_files

    rng = np.random.default_rng(2)
    predictions = rng.beta(0.6, 1.2, 400).astype(np.float32).astype(np.float64)
    labels = (rng.uniform(size=400) < predictions).astype(float)
    weights = rng.choice([0.5, 1.0, 2.0], 400)
    curves, histogram = Curves("binary"), ScoreHistogram()
    curves.update(labels, predictions, weights)
    histogram.update(np.zeros(400, np.int64), labels, predictions, weights)
    result = EvaluationResult(
        model="models/1", model_sha256="0", label="late", rows=400, overall={"auc": 0.75}, tasks={"late": "binary"},
        curves=curves.as_json(histogram),
    )  # fmt: skip
    out = str(tmp_path / "evaluation.tfma")
    write_tfma_files(result, out)
    (plots,) = tfma.load_plots(out)
    (entry,) = plots.plot_keys_and_values
    assert entry.key.output_name == "late" and not plots.slice_key.single_slice_keys
    matrices = list(entry.value.confusion_matrix_at_thresholds.matrices)
    thresholds = [each.threshold for each in matrices]
    assert len(matrices) > 200 and thresholds == sorted(set(thresholds))
    computations = binary_confusion_matrices(thresholds=thresholds, example_weighted=True, use_histogram=False)
    expected = _of_tfma(computations, labels, predictions, weights)
    assert list(expected.thresholds) == thresholds
    for name in ("true_positives", "false_positives", "false_negatives", "true_negatives"):
        theirs = getattr(expected, "".join(word[0] for word in name.split("_")))
        assert [getattr(each, name) for each in matrices] == pytest.approx(list(theirs), abs=1e-9), name
    metric = tfma.metrics.CalibrationPlot(num_buckets=20, left=0, right=1)
    expected = _of_tfma(metric.computations(example_weighted=True), labels, predictions, weights)
    theirs = [each for each in expected.buckets if each.num_weighted_examples.value]
    mine = list(entry.value.calibration_histogram_buckets.buckets)
    for one, two in zip(mine, theirs, strict=True):
        assert one.lower_threshold_inclusive == pytest.approx(two.lower_threshold_inclusive)
        for name in ("num_weighted_examples", "total_weighted_label", "total_weighted_refined_prediction"):
            assert getattr(one, name).value == pytest.approx(getattr(two, name).value), name
    ((key, found),) = tfma.load_eval_result(out).plots
    assert key == () and len(found["late"][""]["confusionMatrixAtThresholds"]["matrices"]) == len(matrices)


def test_plot_of_several_classes_and_none_of_numbers(tmp_path):
    import tensorflow_model_analysis as tfma

    from trainers.evaluation.tfma.result_files import write_tfma_files

    facts = {"model": "m", "model_sha256": "0", "label": "y", "rows": 6, "overall": {"example_count": 6.0}}
    curves = {"confusion_matrix": [[0, 1, 0], [0, 0, 0], [0, 0, 5.0]]}
    write_tfma_files(EvaluationResult(**facts, curves=curves), tmp_path / "classes.tfma")
    (plots,) = tfma.load_plots(str(tmp_path / "classes.tfma"))
    (matrix,) = plots.plot_keys_and_values[0].value.multi_class_confusion_matrix_at_thresholds.matrices
    found = [(each.actual_class_id, each.predicted_class_id, each.num_weighted_examples) for each in matrix.entries]
    assert found == [(0, 1, 1.0), (2, 2, 5.0)] and matrix.threshold == 0.0
    write_tfma_files(EvaluationResult(**facts), tmp_path / "numbers.tfma")
    assert not list(tfma.load_plots(str(tmp_path / "numbers.tfma")))
    assert tfma.load_eval_result(str(tmp_path / "numbers.tfma")).plots == []
