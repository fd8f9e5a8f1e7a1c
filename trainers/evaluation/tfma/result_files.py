"""A result in TFMA's own files, so that its tools, widgets and `load_eval_result` read it."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.storage.destination import Destination
from trainers.evaluation.accumulators.sampling import DEGREES, STUDENT_T
from trainers.evaluation.result import MISSING, EvaluationResult
from trainers.evaluation.tfma.plots import plots_for_all_rows

__all__ = ["write_tfma_files"]

_CONFIG = "eval_config.json"
_AGGREGATES = {"micro_": "micro_average", "macro_": "macro_average", "weighted_": "weighted_macro_average"}


def write_tfma_files(result: EvaluationResult, out: str | os.PathLike[str], data: str = "") -> None:
    """Writes `metrics-00000-of-00001.tfrecord`, `plots-...`, `validations.tfrecord` and `eval_config.json`.

    Args:
        result: of an evaluation.
        out: directory; it appears whole, and replaces one that was written before.
        data: where the data lie, for people.

    Raises:
        ConfigError: something else is in `out`.
    """
    import tensorflow as tf

    destination = Destination(out, _CONFIG)
    destination.check([])
    with destination.fill() as directory:
        with tf.io.TFRecordWriter(os.path.join(directory, "metrics-00000-of-00001.tfrecord")) as file:
            file.write(_for_slice({}, result.overall, result.half_widths))
            for each in result.slices:
                if not each.merged:  # it is no slice of any value
                    file.write(_for_slice(each.key, each.metrics, each.half_widths))
        with tf.io.TFRecordWriter(os.path.join(directory, "plots-00000-of-00001.tfrecord")) as file:
            plots = plots_for_all_rows(result.curves, next(iter(result.tasks), ""))
            if plots is not None:
                file.write(plots)
        with tf.io.TFRecordWriter(os.path.join(directory, "validations.tfrecord")) as file:
            file.write(_validation(result))
        Path(directory, _CONFIG).write_text(_run(result, data), encoding="utf-8")


def _for_slice(key: Mapping[str, Any], metrics: Mapping[str, float], half_widths: Mapping[str, float]) -> bytes:
    from tensorflow_model_analysis.proto import metrics_for_slice_pb2

    found = metrics_for_slice_pb2.MetricsForSlice()
    found.slice_key.SetInParent()
    for column, value in key.items():
        single = found.slice_key.single_slice_keys.add(column=column)
        if isinstance(value, int):
            single.int64_value = int(value)
        elif isinstance(value, float):
            single.float_value = value
        else:
            single.bytes_value = (MISSING if value is None else value).encode()
    for name, value in metrics.items():
        entry = found.metric_keys_and_values.add()
        _fill_key(entry.key, name)
        entry.value.double_value.value = value
        half = half_widths.get(name, math.nan)
        if math.isfinite(half):
            entry.confidence_interval.lower_bound.double_value.value = value - half
            entry.confidence_interval.upper_bound.double_value.value = value + half
            entry.confidence_interval.standard_error.double_value.value = half / STUDENT_T
            entry.confidence_interval.degrees_of_freedom.value = DEGREES
    return bytes(found.SerializeToString())


def _fill_key(key: Any, name: str) -> None:
    """A name of ours as TFMA's key: output, class, number of first answers and kind of mean have fields of their own."""
    output, _, rest = name.rpartition("/")
    key.output_name = output
    of_class = re.fullmatch(r"(.+)@classId:(\d+)", rest)
    at = re.fullmatch(r"(ndcg|precision|recall)_at_(\d+)", rest)
    if of_class:
        rest, key.sub_key.class_id.value = of_class[1], int(of_class[2])
    elif at:
        rest, key.sub_key.top_k.value = at[1], int(at[2])
    for prefix, field in _AGGREGATES.items():
        if rest.startswith(prefix):
            rest = rest.removeprefix(prefix)
            setattr(key.aggregation_type, field, True)
    key.name = rest


def _validation(result: EvaluationResult) -> bytes:
    from tensorflow_model_analysis.proto import validation_result_pb2

    found = validation_result_pb2.ValidationResult(validation_ok=result.blessed, missing_thresholds=not result.judged)
    if result.failures:
        of_all = found.metric_validations_per_slice.add()
        of_all.slice_key.SetInParent()
        for line in result.failures:
            of_all.failures.add(message=line)
    return bytes(found.SerializeToString())


def _run(result: EvaluationResult, data: str) -> str:
    from importlib.metadata import version

    slices = [{}, *({"featureKeys": list(c)} for c in dict.fromkeys(tuple(s.key) for s in result.slices))]
    config = {
        "modelSpecs": [{"labelKey": result.label}],
        "slicingSpecs": slices,
        "options": {"computeConfidenceIntervals": result.intervals != "none"},
    }
    run = {
        "evalConfig": config,
        "version": version("tensorflow-model-analysis"),
        "dataLocation": data,
        "modelLocations": {"": result.model},
    }
    return json.dumps(run, indent=2)
