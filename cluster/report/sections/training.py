"""Curves of a training run: each logged step from TensorBoard's event files, else each evaluation from the last checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cluster.report.charts import lines
from cluster.report.model import Chart, Section
from cluster.report.runs import Run

__all__ = ["curves", "training_section"]

_FEW = 500  # points of a line: more are not seen
_SHOWN_LATER = ("learning_rate", "examples_per_s", "step_ms_p50", "step_ms_p95", "input_wait_share")

Points = list[tuple[float, float]]


def curves(run: Run) -> dict[str, dict[str, Points]]:
    """Returns metric to "train" and "eval" to points (step, value)."""
    directory = run.training
    found: dict[str, dict[str, Points]] = {}
    if directory is not None:
        for kind in ("train", "eval"):
            for name, step, value in _events(directory / "logs" / kind):
                found.setdefault(name, {}).setdefault(kind, []).append((step, value))
    logged = {(m, kind): {step for step, _ in points} for m, kinds in found.items() for kind, points in kinds.items()}
    for entry in run.train_state.get("training", {}).get("history", []):
        for name, value in entry.items():
            if name in ("step", "epoch") or not isinstance(value, int | float):
                continue
            kind, metric = ("train", name.removeprefix("train_")) if name.startswith("train_") else ("eval", name)
            steps = logged.setdefault((metric, kind), set())
            if entry["step"] not in steps:
                steps.add(entry["step"])
                found.setdefault(metric, {}).setdefault(kind, []).append((entry["step"], value))
    return {name: {kind: _thinned(sorted(p)) for kind, p in kinds.items()} for name, kinds in found.items()}


def _thinned(points: Points) -> Points:
    stride = -(-len(points) // _FEW)
    return [p for i, p in enumerate(points) if i % stride == 0 or i == len(points) - 1] if stride > 1 else points


def _events(directory: Path) -> Iterator[tuple[str, float, float]]:
    """Yields name, step and value of all scalars; a file that ends in the middle of a record gives what is before."""
    files = sorted(directory.glob("events.out.tfevents.*")) if directory.is_dir() else []
    if not files:
        return
    try:  # TensorBoard's own reader needs no TensorFlow
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.tensorflow_stub.errors import DataLossError, OutOfRangeError
        from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
    except ImportError:
        return
    for file in files:
        reader = PyRecordReader_New(str(file))
        while True:
            try:
                reader.GetNext()
            except (OutOfRangeError, DataLossError):
                break
            event = Event.FromString(reader.record())
            for value in event.summary.value:
                scalar = _scalar(value)
                if scalar is not None:
                    yield value.tag, float(event.step), scalar


def _scalar(value: Any) -> float | None:
    import numpy as np

    if value.WhichOneof("value") == "simple_value":
        return float(value.simple_value)
    tensor = value.tensor
    if value.WhichOneof("value") != "tensor" or tensor.dtype != 1 or any(d.size != 1 for d in tensor.tensor_shape.dim):
        return None
    if tensor.tensor_content:
        return float(np.frombuffer(tensor.tensor_content, "<f4")[0])
    return float(tensor.float_val[0]) if tensor.float_val else None


def training_section(runs: Sequence[Run]) -> Section:
    """Returns the section of the training curves."""
    import math

    found = [curves(run) for run in runs]
    names = [name for name in dict.fromkeys(name for each in found for name in each) if name != "epoch"]
    names.sort(key=lambda name: (name in _SHOWN_LATER, name != "loss"))
    charts: list[Chart] = []
    for name in names:
        values = [
            {"s": kind if len(runs) == 1 else f"{run.name}, {kind}", "x": step, "y": value}
            for run, each in zip(runs, found)
            for kind, points in each.get(name, {}).items()
            for step, value in points
            if math.isfinite(value)
        ]
        if values and len({v["x"] for v in values}) > 1:
            charts.append(lines(name, values, "step", name, named=True, points=len(values) < 60))
    missing = () if charts else ("No training curves: add [train], and leave its `tensorboard` on.",)
    return Section(name="training", title="Training", blocks=charts, missing=missing)
