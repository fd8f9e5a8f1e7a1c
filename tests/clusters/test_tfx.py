"""TFX 1.21 with our run_fn: CsvExampleGen, StatisticsGen, SchemaGen, Transform, Trainer, Evaluator on LocalDagRunner."""

from __future__ import annotations

import math

import pytest

from tests.clusters.tfx_fixtures import ROWS, tfx_run, tfx_transforms

__all__ = ["tfx_run", "tfx_transforms"]

pytestmark = [pytest.mark.tfx, pytest.mark.timeout(3600)]


def test_exported_model_answers_raw_examples_as_on_tfx_transformed_ones(tfx_run):
    served = tfx_run.found["served"]
    assert served["rows"] == served["rows_transformed"] > ROWS // 4
    assert served["difference"] <= 1e-6
    assert served["auc"] > 0.8


def test_evaluator_blesses_model(tfx_run):
    assert tfx_run.found["blessed"]


def test_our_evaluation_by_segment_equals_that_of_tfx_evaluator(tfx_run):
    segments = tfx_run.found["evaluated"]["segments"]
    assert set(segments) == set(tfx_run.found["evaluated"]["theirs"]) and len(segments) > 10
    for name, metrics in segments.items():
        rows, their_rows = metrics["example_count"]
        assert rows == their_rows, name
        for metric in ("binary_accuracy", "mean_prediction"):
            ours, theirs = metrics[metric]
            assert ours == pytest.approx(theirs, abs=1e-6), (name, metric)
        ours, theirs = metrics["auc"]
        if theirs is None or math.isnan(theirs) or ours is None or math.isnan(ours):
            assert rows < 100, name  # one class
        else:
            # TFMA interpolates over 10,000 thresholds; ours has 131,072 buckets, and so is nearer to the exact area.
            assert ours == pytest.approx(theirs, abs=2e-3), name


def test_our_passes_give_what_tfx_transform_gave(tfx_run):
    analyzed = tfx_run.found["analyzed"]
    assert analyzed["vocabularies_equal"] and analyzed["rows"] > ROWS // 2
    buckets = analyzed["worst"].pop("distance_bucket")
    assert buckets <= 1.0, "quantiles are a sketch: a value near a boundary may fall into the next bucket"
    assert max(analyzed["worst"].values()) <= 1e-5


def test_our_transform_component_has_the_outputs_of_tfxs(tfx_transforms):
    theirs, ours, again = (tfx_transforms[name] for name in ("theirs", "ours", "again"))
    assert ours["outputs"].keys() == theirs["outputs"].keys() and len(theirs["outputs"]) == 8
    assert all(ours["outputs"].values()), ours["outputs"]
    assert ours["assets"] == theirs["assets"] and ours["spec"] == theirs["spec"] and ours["raw_metadata"]
    assert ours["rows"] == theirs["rows"] > ROWS // 4
    for name, expected in theirs["values"].items():
        tolerance = 1.0 if name == "distance_bucket" else 1e-5  # a sketch of quantiles: the next bucket near a boundary
        assert ours["values"][name] == pytest.approx(expected, abs=tolerance), name
    assert again["values"] == ours["values"] and again["assets"] == ours["assets"]
    assert ours["anomalies"] == theirs["anomalies"] == again["anomalies"]


@pytest.mark.parametrize("kind", ["pre_transform_stats", "post_transform_stats"])
def test_our_transform_component_writes_the_statistics_of_tfxs(tfx_transforms, kind):
    theirs, ours = ({**tfx_transforms[name]["statistics"][kind]} for name in ("theirs", "ours"))
    assert ours.keys() == theirs.keys() and len(ours) > 5
    assert ours.pop("") == theirs.pop(""), "rows"
    for name, expected in theirs.items():
        rounded = [value if isinstance(value, str) else pytest.approx(value, rel=1e-5, abs=1e-5) for value in expected]
        # Buckets are a sketch of quantiles: another number of rows near a boundary.
        assert ours[name][:4] == expected[:4] if name == "distance_bucket" else ours[name] == rounded, name


def test_our_transform_component_reads_only_new_spans(tfx_transforms):
    grown, whole, caches = tfx_transforms["grown"], tfx_transforms["whole"], tfx_transforms["caches"]
    assert grown["assets"] == whole["assets"] and grown["rows"] == whole["rows"] > tfx_transforms["ours"]["rows"]
    for name, expected in whole["values"].items():
        assert grown["values"][name] == pytest.approx(expected, rel=1e-6), name
    ((span, written),) = caches["ours"].items()
    assert caches["again"] == {span: written}, "a span that is known was written again"
    assert caches["grown"].keys() == caches["whole"].keys() and len(caches["grown"]) == 2
    assert caches["grown"][span] == written != caches["whole"][span]


def test_our_transform_component_gives_the_same_of_parquet_examples(tfx_transforms):
    records, parquet = tfx_transforms["ours"], tfx_transforms["parquet"]
    assert parquet["outputs"].keys() == records["outputs"].keys() and all(parquet["outputs"].values())
    assert parquet["assets"] == records["assets"] and parquet["spec"] == records["spec"]
    assert parquet["rows"] == records["rows"] > ROWS // 4
    for name, expected in records["values"].items():
        tolerance = 1.0 if name == "distance_bucket" else 1e-5
        assert parquet["values"][name] == pytest.approx(expected, abs=tolerance), name
    assert parquet["anomalies"] == records["anomalies"]
    mine, theirs = (each["statistics"]["pre_transform_stats"].keys() for each in (parquet, records))
    assert mine == theirs


def test_our_transform_component_ran_without_beam(tfx_run, tfx_transforms):
    assert tfx_transforms["ours"]["rows"]
    assert "TFX's pipeline runs" not in (tfx_run.root.session / "transforms.log").read_text()


def test_run_fn_reads_parquet_examples_and_starts_from_base_model(tfx_run):
    """One step from the weights of the first model: close to it, and not the same."""
    assert 0 < tfx_run.found["trained_again"]["moved"] < 0.5


def test_eval_logs_lie_in_model_run_directory(tfx_run):
    assert tfx_run.found["event_files"]


def test_root_has_tfx_versions_and_nothing_of_it_stays_mounted(tfx_run):
    assert tfx_run.found["pyarrow"].startswith("18.") and tfx_run.found["python"].startswith("3.13")
    with open("/proc/self/mounts") as mounts:
        assert str(tfx_run.root.root) not in mounts.read()


def test_command_that_fails_leaves_no_mount_and_no_process(tfx_run):
    with pytest.raises(RuntimeError, match="exit 7"):
        tfx_run.root.run(["sh", "-c", "sleep 987 & exit 7"])
    with open("/proc/self/mounts") as mounts:
        assert str(tfx_run.root.root) not in mounts.read()
    import subprocess

    assert "sleep 987" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
