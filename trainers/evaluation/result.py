"""The outcome of an evaluation: metrics overall and by segment, the blessing, and how they are shown and kept."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from engine.core.errors import DataError
from engine.storage.paths import open_output
from engine.storage.tree import read_text

__all__ = ["EvaluationResult", "SliceResult"]

VERSION = 2  # 1 had no digest of the model: what it blessed cannot be known


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceResult:
    """Metrics of the rows that have the same values in some columns.

    Attributes:
        key: column to value; None where the value is missing.
        rows: how many rows.
        metrics: metric to value; not a number where it has no meaning (AUC of one class).
        half_widths: metric to half of its 95 % interval.
    """

    key: Mapping[str, Any]
    rows: int
    metrics: Mapping[str, float]
    half_widths: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """The segment as text, e.g. "carrier=AA, origin=JFK"."""
        return ", ".join(f"{column}={'(missing)' if value is None else value}" for column, value in self.key.items())


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
        curves: calibration, ROC, precision and recall, and confusion over all rows, as `trainers.evaluation.curves` has them.
        baseline_curves: those of the baseline; empty without one.
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
            "slices": [
                {
                    "key": dict(s.key),
                    "rows": s.rows,
                    "metrics": _metrics(s.metrics),
                    "half_widths": _metrics(s.half_widths),
                }
                for s in self.slices
            ],
            "curves": dict(self.curves),
            "baseline_curves": dict(self.baseline_curves),
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
            stored = json.loads(text)
        except ValueError as error:
            raise DataError(f"is not an evaluation: {error}; evaluate again", path=os.fspath(path)) from None
        if not isinstance(stored, dict) or stored.get("version") != VERSION:
            raise DataError(f"is not an evaluation of version {VERSION}; evaluate again", path=os.fspath(path))
        try:
            return _from_json(stored)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(
                f"is a damaged evaluation ({type(error).__name__}: {error}); evaluate again", path=os.fspath(path)
            ) from None

    def table(self, show: int = 20, metrics: Sequence[str] | None = None) -> str:
        """Returns the metrics as a table of plain text.

        Args:
            show: most segments of each kind, the largest first.
            metrics: which; None for all.
        """
        import io

        from rich import box
        from rich.console import Console
        from rich.table import Table

        header, rows, hidden = self._rows(show, metrics)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for i, name in enumerate(header):
            table.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        out = io.StringIO()
        Console(file=out, width=400, force_terminal=False, color_system=None).print(table)
        lines = [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]
        return "\n".join([*lines, *hidden, *self._verdict()])

    def markdown(self, show: int = 200) -> str:
        """Returns the metrics as Markdown."""
        header, rows, hidden = self._rows(show, None)
        lines = [
            "# Evaluation",
            "",
            f"Model `{self.model}` (sha256 {self.model_sha256}), label `{self.label}`, {self.rows:,} rows.",
            "",
        ]
        lines += ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([*lines, "", *hidden, *self._verdict(), ""])

    def _rows(self, show: int, metrics: Sequence[str] | None) -> tuple[list[str], list[list[str]], list[str]]:
        names = list(metrics) if metrics is not None else [n for n in self.overall if n != "example_count"]
        rows = [["all rows", f"{self.rows:,}", *(_shown(self.overall[n], self.half_widths.get(n)) for n in names)]]
        if self.baseline is not None:
            rows.append(["baseline, all rows", f"{self.rows:,}", *(_shown(self.baseline[n]) for n in names)])
        hidden = []
        for columns in dict.fromkeys(tuple(s.key) for s in self.slices):
            segments = [s for s in self.slices if tuple(s.key) == columns]
            rows += [
                [s.name, f"{s.rows:,}", *(_shown(s.metrics[n], s.half_widths.get(n)) for n in names)]
                for s in segments[:show]
            ]
            if len(segments) > show:
                hidden.append(f"{len(segments) - show:,} more segments of {', '.join(columns)}")
        return ["segment", "rows", *names], rows, hidden

    def _verdict(self) -> list[str]:
        if not self.judged:
            return []
        left_out = ["not judged:", *(f"  {line}" for line in self.not_judged)] if self.not_judged else []
        if self.blessed:
            return ["blessed: all thresholds are met", *left_out]
        return ["not blessed:", *(f"  {line}" for line in self.failures), *left_out]


def _from_json(stored: Mapping[str, Any]) -> EvaluationResult:
    return EvaluationResult(
        model=stored["model"],
        model_sha256=stored["model_sha256"],
        data=stored.get("data", ""),
        label=stored["label"],
        rows=stored["rows"],
        overall=_numbers(stored["overall"]),
        half_widths=_numbers(stored.get("half_widths", {})),
        slices=[
            SliceResult(
                key=s["key"],
                rows=s["rows"],
                metrics=_numbers(s["metrics"]),
                half_widths=_numbers(s.get("half_widths", {})),
            )
            for s in stored["slices"]
        ],
        baseline=None if stored["baseline"] is None else _numbers(stored["baseline"]),
        failures=stored["failures"],
        not_judged=stored.get("not_judged", []),
        judged=stored["judged"],
        curves=stored.get("curves", {}),
        baseline_curves=stored.get("baseline_curves", {}),
    )


def _metrics(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _numbers(metrics: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else float(value) for name, value in metrics.items()}


def _shown(value: float, half_width: float | None = None) -> str:
    if not math.isfinite(value):
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 10000 else f"{value:.4f}"
    return text if half_width is None or not math.isfinite(half_width) else f"{text} ±{half_width:.4f}"
