"""Finished runs on disk for the tests of reports, written by what writes them in earnest, with names that want to run as code."""

from __future__ import annotations

import json
import math
from pathlib import Path

HOSTILE = "<script>window.hit=1</script>"
HOSTILE_VALUES = (
    HOSTILE,
    '"><img src=x onerror="window.hit=1">',
    "</script><svg onload=window.hit=1>",
    "{{ 7 * 7 }} {% raw %} ${window.hit=1} datum.x[0] 'it''s",
    "| a | b\n# heading [link](javascript:alert(1)) `code` @team",
    "carrier.with[brackets]\u2028\u202e",
)
STEPS = ("ingest", "analyze", "transform", "train", "export", "evaluate")


def finish_step(work_dir, step, out_files, before=(), **facts):
    """Writes one finished step and returns its directory; `out_files` fills the directory and returns the outputs."""
    from cluster.pipeline.records import StepRecord, begin_directory, commit, finished_steps

    key = facts.pop("key", step).ljust(12, "0")
    directory = begin_directory(work_dir / step, key, resumable=False)
    outputs = out_files(directory)
    taken = {name: finished_steps(work_dir / name)[0].directory.name for name in before}
    values = {"rows_in": 1000, "rows_out": 1000, "set_aside": {}, "seconds": 2.5, "notes": (), "info": {}, "parts": {}}
    values.update(facts)
    record = StepRecord(
        step=step, key=key, before=taken, outputs=outputs, files={}, finished_at="2026-11-26T18:17:38+00:00", **values
    )
    return commit(directory, record).directory


def evaluation(auc=0.9, failures=(), segments=HOSTILE_VALUES, judged=True, curves=True):
    """Returns a binary evaluation with a segment for each name, some metrics of which have no meaning."""
    from trainers.evaluation.result import EvaluationResult, SliceResult

    slices = [
        SliceResult(
            key={HOSTILE: value},
            rows=500 - 10 * i,
            metrics={
                "auc": auc - 0.02 * i if i != 3 else math.nan,
                "recall": 0.5 + 0.01 * i,
                "example_count": 500 - 10 * i,
            },
            half_widths={"auc": 0.01, "recall": 0.02},
        )
        for i, value in enumerate(segments)
    ]
    threshold = [0.25, 0.5, 0.75]
    kept = {
        "calibration": [
            {"low": t - 0.25, "high": t, "weight": 100.0, "mean_prediction": t - 0.1, "mean_label": t - 0.12}
            for t in threshold
        ],
        "roc": [{"threshold": 1 - x, "fpr": x, "tpr": x**0.5} for x in (0.0, 0.25, 1.0)],
        "pr": [{"threshold": 1 - x, "recall": x, "precision": 1 - x / 2} for x in (0.25, 0.5, 1.0)],
        "confusion": [{"threshold": t, "tp": 60.0, "fp": 20.0, "fn": 40.0, "tn": 80.0} for t in threshold],
    }
    return EvaluationResult(
        model="m",
        model_sha256="0" * 64,
        label=HOSTILE,
        rows=1000,
        overall={"auc": auc, "recall": 0.55, "example_count": 1000.0},
        slices=slices,
        failures=list(failures),
        half_widths={"auc": 0.005},
        judged=judged,
        curves=kept if curves else {},
    )


def write_run(work_dir: Path, result=None, statistics=True):
    """Writes a run of all steps and returns its working directory."""
    work_dir.mkdir(parents=True, exist_ok=True)
    result = evaluation() if result is None else result
    finish_step(
        work_dir,
        "ingest",
        lambda directory: {},
        rows_in=1200,
        set_aside={f"without {HOSTILE}": 200},
        notes=(f"train: {HOSTILE}",),
        parts={f"input {HOSTILE}": "f" * 64, f"ingest.{HOSTILE}": HOSTILE_VALUES[2]},
    )
    finish_step(work_dir, "analyze", _graph, before=["ingest"])
    finish_step(work_dir, "transform", lambda directory: {}, before=["ingest", "analyze"])
    finish_step(work_dir, "train", _training, before=["transform"], parts={"train.epochs": "3"}, rows_out=1000)
    finish_step(work_dir, "export", lambda directory: {}, before=["train"])

    def evaluated(directory):
        result.save(directory / "evaluation.json")
        return {"result": "evaluation.json"}

    info = {"overall": dict(result.overall), "blessed": result.blessed, "failures": list(result.failures)}
    finish_step(work_dir, "evaluate", evaluated, before=["export"], info=info)
    if statistics:
        write_statistics(work_dir)
    return work_dir


def _graph(directory):
    assets = directory / "graph" / "transform_fn" / "assets"
    assets.mkdir(parents=True)
    (assets / "words").write_bytes("\n".join([HOSTILE, *"abcdefghij"]).encode() + b"\n\xff\xfe\n")
    results = [
        {
            "analyzer": "bucketize/quantiles",
            "size": 3,
            "values": [1, 2.5, 4],
            "outputs": [HOSTILE],
            "line": "clicks.py:7",
        },
        {"analyzer": "scale/mean_and_var", "size": 2, "values": [0.5, 2.0], "outputs": ["z"]},
    ]
    extra = assets.parent / "assets.extra"
    extra.mkdir()
    (extra / "analyzer_results.json").write_text(json.dumps({"version": 1, "results": results}))
    return {"graph": "graph"}


def _training(directory):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    logs = directory / "run" / "logs" / "train"
    logs.mkdir(parents=True)
    with open(logs / "events.out.tfevents.1.host", "wb") as file:
        writer = RecordWriter(file)
        for step in range(0, 100, 10):
            event = Event(step=step)
            event.summary.value.add(tag="loss", simple_value=1 / (1 + step))
            event.summary.value.add(tag=HOSTILE, simple_value=step)
            writer.write(event.SerializeToString())
    state = directory / "run" / "checkpoints" / "step-000000000100" / "state.json"
    state.parent.mkdir(parents=True)
    history = [{"step": s, "epoch": s / 50, "loss": 0.5 - s / 1000, "train_loss": 9.0} for s in (50, 100)]
    state.write_text(json.dumps({"epoch": 2.0, "training": {"step": 100, "history": history}}))
    return {"checkpoints": "run"}


def write_statistics(work_dir):
    """Writes the steps `stats` and `validate`, whose files are TensorFlow Metadata's messages."""
    from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

    def stats(directory):
        for split in ("train", "eval"):
            message = statistics_pb2.DatasetFeatureStatisticsList()
            dataset = message.datasets.add(name="All Examples", num_examples=1000)
            feature = dataset.features.add(name="delay", type=1)
            feature.num_stats.common_stats.num_non_missing = 900
            feature.num_stats.common_stats.num_missing = 100
            feature.num_stats.common_stats.tot_num_values = 900
            feature.num_stats.mean, feature.num_stats.num_zeros = 12.25, 90
            histogram = feature.num_stats.histograms.add(type=0)
            for i in range(10):
                histogram.buckets.add(low_value=i, high_value=i + 1, sample_count=i)
            feature = dataset.features.add(name=HOSTILE, type=2)
            feature.string_stats.common_stats.num_non_missing = 1000
            feature.string_stats.unique = 2
            for value in HOSTILE_VALUES[:2]:
                feature.string_stats.top_values.add(value=value, frequency=500)
            (directory / split).mkdir()
            (directory / split / "FeatureStats.pb").write_bytes(message.SerializeToString())
        return {"train": "train", "eval": "eval"}

    def validate(directory):
        message = anomalies_pb2.Anomalies()
        info = message.anomaly_info[HOSTILE]
        info.severity, info.short_description, info.description = 2, "New column", HOSTILE_VALUES[1]
        drift = message.drift_skew_info.add()
        drift.path.step.append("delay")
        drift.drift_measurements.add(type=2, value=0.3, threshold=0.1)
        (directory / "train").mkdir()
        (directory / "train" / "SchemaDiff.pb").write_bytes(message.SerializeToString())
        return {"train": "train"}

    finish_step(work_dir, "stats", stats)
    finish_step(work_dir, "validate", validate, before=["stats"])
