"""The outcome of an evaluation: metrics overall and by segment, the blessing, and how they are shown and kept."""

from __future__ import annotations

import base64
import dataclasses
import errno
import json
import math
import os
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.core.configs import convert
from engine.core.errors import ConfigError, DataError
from engine.core.json_text import parse_json
from engine.core.text_encoding import in_quotes_if_alike, one_line
from engine.storage.paths import open_output
from engine.storage.tree import read_text

__all__ = ["MISSING", "OTHER", "EvaluationResult", "SliceResult"]

MISSING = "(missing)"  # what stands for a value that is not there
OTHER = "(other)"  # value of each column of the segment that small ones are merged into
VERSION = 2  # 1 had no digest of the model: what it blessed cannot be known


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceResult:
    """Metrics of the rows that have the same values in some columns.

    Attributes:
        key: column to value; None where the value is missing.
        rows: how many rows.
        metrics: metric to value; not a number where it has no meaning (AUC of one class).
        half_widths: metric to half of its 95 % interval.
        merged: number of segments in it, for the one that holds those that are not shown by themselves; else 0.
        baseline: metrics of the baseline over the same rows; None without one.
        change_half_widths: metric to half of the 95 % interval of its change against the baseline, on the same rows.
        deviations: metric to how far each replicate that the interval is estimated from is off; float32.
        error_bounds: metric to how far the exact value may be away, where values were put together; exact ones are left out.
    """

    key: Mapping[str, Any]
    rows: int
    metrics: Mapping[str, float]
    half_widths: Mapping[str, float] = dataclasses.field(default_factory=dict)
    merged: int = 0
    baseline: Mapping[str, float] | None = None
    change_half_widths: Mapping[str, float] = dataclasses.field(default_factory=dict)
    deviations: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    error_bounds: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """The segment as a line of text, e.g. "carrier=AA, origin=JFK": no two segments of the same columns have the same."""
        if self.merged:
            return one_line(f"{', '.join(self.key)}: {self.merged:,} others")
        return one_line(", ".join(f"{column}={self._shown(value)}" for column, value in self.key.items()))

    def _shown(self, value: Any) -> str:
        """A value of the key; in quotes where it would read as another: as the missing one, as several columns' values, or
        as one that has what `one_line` writes for a character.
        """
        if value is None:
            return MISSING
        text = str(value)
        joined = any(f", {column}=" in text for column in self.key)
        return in_quotes_if_alike(text, MISSING, joined or one_line(text) != text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """What `trainers.evaluation.evaluate` returns.

    Attributes:
        model: directory of the SavedModel, where it was evaluated.
        model_sha256: its digest, which the blessing is bound to wherever the model lies.
        label: name of the label.
        rows: rows evaluated, as many as the data set has.
        overall: metric to value over all rows.
        slices: the segments, by columns and then by number of rows, largest first.
        baseline: metrics of the baseline over the same rows, or None.
        failures: what the model did not reach, one readable line each.
        not_judged: segments that thresholds name and that were too small or had no such metric, one line each.
        half_widths: metric to half of its 95 % interval over all rows.
        judged: thresholds were given; only then can the model be blessed.
        data: hash of the manifest of the data.
        curves: calibration, ROC, precision and recall, and confusion over all rows, as `trainers.evaluation.passes.curves` has them.
        baseline_curves: those of the baseline; empty without one.
        change_half_widths: metric to half of the 95 % interval of its change against the baseline over all rows.
        fairness: as `trainers.evaluation.fairness.gaps` returns them.
        intervals: how they were estimated.
        deviations, error_bounds: as those of a segment, over all rows.
        tasks: output to its task; the name is empty where there is one only.
        classes: output to the names of its classes, where labels are text.
        weight, query: columns of the rows' weights and of rankings; empty for none, None where the file does not say it.
    """

    model: str
    model_sha256: str
    label: str
    rows: int
    overall: Mapping[str, float]
    slices: Sequence[SliceResult] = ()
    baseline: Mapping[str, float] | None = None
    failures: Sequence[str] = ()
    not_judged: Sequence[str] = ()
    half_widths: Mapping[str, float] = dataclasses.field(default_factory=dict)
    judged: bool = False
    data: str = ""
    curves: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    baseline_curves: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    change_half_widths: Mapping[str, float] = dataclasses.field(default_factory=dict)
    fairness: Sequence[Mapping[str, Any]] = ()
    intervals: str = "none"
    deviations: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    tasks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    classes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    error_bounds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    weight: str | None = ""
    query: str | None = ""

    @property
    def blessed(self) -> bool:
        """Whether the model may be served: it was held to thresholds and met all."""
        return self.judged and not self.failures

    def as_json(self) -> dict[str, Any]:
        """Returns the result as JSON values; a metric that is not a number is null."""
        return {
            "version": VERSION,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "data": self.data,
            "label": self.label,
            "rows": self.rows,
            "blessed": self.blessed,
            "judged": self.judged,
            "failures": list(self.failures),
            "not_judged": list(self.not_judged),
            "overall": _metrics(self.overall),
            "half_widths": _metrics(self.half_widths),
            "baseline": None if self.baseline is None else _metrics(self.baseline),
            "change_half_widths": _metrics(self.change_half_widths),
            "slices": [_slice_json(s) for s in self.slices],
            "curves": dict(self.curves),
            "baseline_curves": dict(self.baseline_curves),
            "fairness": [dict(each) for each in self.fairness],
            "tasks": dict(self.tasks),
            "classes": {output: list(names) for output, names in self.classes.items()},
            "intervals": self.intervals,
            "deviations": _packed(self.deviations),
            "error_bounds": _metrics(self.error_bounds),
            "weight": self.weight,
            "query": self.query,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the result as JSON, and as Markdown beside it, each whole or not at all; a path or a URI."""
        with open_output(os.fspath(path)) as file:
            file.write((json.dumps(self.as_json(), indent=2, allow_nan=False) + "\n").encode())
        with open_output(os.path.splitext(os.fspath(path))[0] + ".md") as file:
            file.write(self.markdown().encode())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> EvaluationResult:
        """Returns a result that `save` wrote.

        Raises:
            FileNotFoundError: no file is there.
            DataError: not such a file, or one of another version.
        """
        text = read_text(os.fspath(path))
        if text is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
        try:
            stored = parse_json(text)
        except ValueError as error:
            raise DataError(f"is not an evaluation: {error}; evaluate again", path=os.fspath(path)) from None
        if not isinstance(stored, dict) or stored.get("version") != VERSION:
            raise DataError(f"is not an evaluation of version {VERSION}; evaluate again", path=os.fspath(path))
        try:
            return _from_json(stored)
        except (ConfigError, KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise DataError(
                f"is a damaged evaluation ({type(error).__name__}: {error}); evaluate again", path=os.fspath(path)
            ) from None

    def table(self, show: int = 20, metrics: Sequence[str] | None = None) -> str:
        """Returns the metrics as a table of plain text.

        Args:
            show: most segments of each kind, the largest first.
            metrics: which; None for all.

        Raises:
            ConfigError: none of the rows has such a metric.
        """
        from trainers.evaluation.result_text import table

        return table(self, show, metrics)

    def markdown(self, show: int = 200) -> str:
        """Returns the metrics as Markdown."""
        from trainers.evaluation.result_text import markdown

        return markdown(self, show)


def _from_json(stored: Mapping[str, Any]) -> EvaluationResult:
    result = EvaluationResult(
        model=stored["model"],
        model_sha256=stored["model_sha256"],
        data=stored.get("data", ""),
        label=stored["label"],
        rows=stored["rows"],
        overall=_numbers(stored["overall"]),
        half_widths=_numbers(stored.get("half_widths", {})),
        slices=[_slice_from(s) for s in stored["slices"]],
        baseline=None if stored["baseline"] is None else _numbers(stored["baseline"]),
        failures=stored["failures"],
        not_judged=stored.get("not_judged", []),
        judged=stored["judged"],
        curves=stored.get("curves", {}),
        baseline_curves=stored.get("baseline_curves", {}),
        change_half_widths=_numbers(stored.get("change_half_widths", {})),
        fairness=stored.get("fairness", []),
        tasks=stored.get("tasks", {}),
        classes=stored.get("classes", {}),
        intervals=stored.get("intervals", "none"),
        deviations=_unpacked(stored.get("deviations", {})),
        error_bounds=_numbers(stored.get("error_bounds", {})),
        weight=stored.get("weight"),  # files of before it was noted: unknown
        query=stored.get("query"),
    )
    _check_types(result)
    if stored.get("blessed", result.blessed) != result.blessed:  # someone's own word, or a file that was mended by hand
        raise ValueError(f"blessed is {stored['blessed']}, and judged and failures say {result.blessed}")
    return result


def _check_types(result: EvaluationResult | SliceResult) -> None:
    """Refuses what is of another type than its field: a text is true, whatever it says.

    Raises:
        ConfigError: the field that it is.
    """
    for name, hint in typing.get_type_hints(type(result)).items():
        convert(hint, getattr(result, name), name)


def _slice_json(s: SliceResult) -> dict[str, Any]:
    found: dict[str, Any] = {
        "key": dict(s.key),
        "rows": s.rows,
        "metrics": _metrics(s.metrics),
        "half_widths": _metrics(s.half_widths),
        "merged": s.merged,
        "deviations": _packed(s.deviations),
        "error_bounds": _metrics(s.error_bounds),
    }
    if s.baseline is not None:
        found["baseline"] = _metrics(s.baseline)
        found["change_half_widths"] = _metrics(s.change_half_widths)
    return found


def _slice_from(s: Mapping[str, Any]) -> SliceResult:
    found = SliceResult(
        key=s["key"],
        rows=s["rows"],
        metrics=_numbers(s["metrics"]),
        half_widths=_numbers(s.get("half_widths", {})),
        merged=s.get("merged", 0),
        baseline=_numbers(s["baseline"]) if "baseline" in s else None,
        change_half_widths=_numbers(s.get("change_half_widths", {})),
        deviations=_unpacked(s.get("deviations", {})),
        error_bounds=_numbers(s.get("error_bounds", {})),
    )
    _check_types(found)
    return found


def _packed(deviations: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Base64 of little-endian float32: as numbers they would be most of the file."""
    return {name: base64.b64encode(each.astype("<f4").tobytes()).decode() for name, each in deviations.items()}


def _unpacked(packed: Mapping[str, str]) -> dict[str, np.ndarray]:
    return {name: np.frombuffer(base64.b64decode(text), "<f4") for name, text in packed.items()}


def _metrics(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _numbers(metrics: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else float(value) for name, value in metrics.items()}
