"""Two evaluations side by side: how far metrics are apart, overall and by segment, and how sure that is."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainers.evaluation.accumulators.sampling import PARTS, Intervals, half_width
from trainers.evaluation.metric_names import canonical, respelled, rounded
from trainers.evaluation.metrics import TASKS, own_results
from trainers.evaluation.result import EvaluationResult
from trainers.evaluation.thresholds import lower_is_better

__all__ = ["Change", "Comparison", "compare"]

LEAST_ROWS = 100  # segments of fewer decide nothing
_FROM_ZERO = (
    "accuracy",
    "auc",
    "precision",
    "recall",
    "f1_score",
    "sensitivity",
    "specificity",
    "predictive_value",
    "ppv",
    "npv",
)
_NEITHER = ("calibration", "mean_label", "mean_prediction", "example_count", "predicted_positive_rate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One metric of one segment in both evaluations.

    Attributes:
        segment: its name; "all rows" for all.
        rows: in the second evaluation.
        metric: its name.
        before, after: its values; not a number where it has no meaning.
        half_width: half of the 95 % interval of `after - before`; not a number where it is unknown.
    """

    segment: str
    rows: int
    metric: str
    before: float
    after: float
    half_width: float

    @property
    def change(self) -> float:
        """`after - before`."""
        return self.after - self.before

    @property
    def verdict(self) -> str:
        """ "better" or "worse" where the interval of the change leaves 0 out, "" where it does not or nothing is better."""
        if not math.isfinite(self.half_width) or abs(self.change) <= self.half_width:
            return ""
        return _direction(self.metric, self.change)

    def as_json(self) -> dict[str, Any]:
        """Returns JSON values; null where there is no number."""
        found = {**dataclasses.asdict(self), "change": self.change, "verdict": self.verdict}
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare` returns.

    Attributes:
        before, after: the evaluations.
        paired: both were of the same rows, with the same kind of intervals, which are of the difference row by row.
        changes: all rows first, then the segments of the second evaluation, the largest first.
        only_before, only_after: names of segments that one of them has.
        same_rows: both were of the same rows, whatever their intervals.
    """

    before: EvaluationResult
    after: EvaluationResult
    paired: bool
    changes: Sequence[Change]
    only_before: Sequence[str]
    only_after: Sequence[str]
    same_rows: bool = False

    @property
    def worse(self) -> list[Change]:
        """Changes for the worse beyond their interval, of all rows and of segments that are large enough."""
        return [each for each in self.changes if each.verdict == "worse" and each.rows >= LEAST_ROWS]

    @property
    def reasons(self) -> list[str]:
        """Why the second model may not replace the first, one line each; none where it may."""
        found = []
        for what in ("label", "weight", "query"):
            one, two = (getattr(each, what) for each in (self.before, self.after))
            if None not in (one, two) and one != two:
                found.append(
                    f"the {'queries' if what == 'query' else f'{what}s'} differ: {one or 'none'} and {two or 'none'}"
                )
        shared = [name for name in self.after.overall if name in self.before.overall and name != "example_count"]
        if not shared:
            found.append("they have no metric in common")
        found += self._rounded()
        for name in shared:
            if _is_lost(name, self.before.overall[name], self.after.overall[name]):
                found.append(f"{name} of all rows was {self.before.overall[name]:.4f} and is no number any more")
        # On other rows a segment may have lost a class of its labels; on the same ones it is the model's answers that did.
        found += [
            f"{each.metric} of {each.segment} was {each.before:.4f} and is no number any more, on the same rows"
            for each in self.changes
            if self.same_rows and each.segment != "all rows" and each.rows >= LEAST_ROWS
            if _is_lost(each.metric, each.before, each.after)
        ]
        if not self.after.judged:
            found.append("it was held to no thresholds")
        found += list(self.after.failures)
        found += self._worse_without_interval(shared)
        found += [
            f"{each.metric} of {each.segment} is worse: {each.before:.4f} to {each.after:.4f} ({each.change:+.4f} ±{each.half_width:.4f})"
            for each in self.worse
        ]
        return found

    def _rounded(self) -> list[str]:
        """Metrics that the first evaluation has at their threshold cut to six digits, as earlier versions measured them."""
        before, after = set(self.before.overall), set(self.after.overall)
        first = {name: respelled(rounded(name)) for name in sorted(after - before)}
        return [
            f"{name} was measured at another threshold, as {old}; evaluate the first again"
            for name, old in first.items()
            if old != name and old in before - after
        ]

    def _worse_without_interval(self, shared: Sequence[str]) -> list[str]:
        """Metrics of all rows that are worse, where no change has an interval: nothing then says that it is chance."""
        changes = [each for each in self.changes if each.segment == "all rows" and each.metric in shared]
        if any(math.isfinite(each.half_width) for each in changes):
            return []
        return [
            f"{each.metric} of all rows is worse: {each.before:.4f} to {each.after:.4f}, and no change has an interval; "
            "evaluate both with intervals"
            for each in changes
            if _direction(each.metric, each.change) == "worse"
        ]

    @property
    def may_replace(self) -> bool:
        """Whether the second model met its thresholds and is nowhere worse beyond the interval of the change."""
        return not self.reasons

    @property
    def answer(self) -> str:
        """Whether the second may replace the first, in words; where it may not, `reasons` says why."""
        if self.may_replace:
            return "the second may replace the first: it met its thresholds and is nowhere worse beyond the interval"
        return "the second may not replace the first"

    @property
    def basis(self) -> str:
        """What the intervals of the changes are, in words."""
        if self.paired:
            return "95 % intervals of the difference on the same rows"
        return "95 % intervals as of two independent data sets"

    def as_json(self) -> dict[str, Any]:
        """Returns JSON values."""
        return {
            "paired": self.paired,
            "may_replace": self.may_replace,
            "reasons": self.reasons,
            "changes": [each.as_json() for each in self.changes],
            "only_before": list(self.only_before),
            "only_after": list(self.only_after),
        }


def _direction(metric: str, change: float) -> str:
    """ "better" or "worse"; "" where the change is no number or 0, or of a metric of which neither more nor less is better."""
    base = metric.rpartition("/")[2].partition("@")[0]
    if not math.isfinite(change) or change == 0 or base in _NEITHER:
        return ""
    return "better" if (change < 0) == lower_is_better(metric) else "worse"


def _is_lost(metric: str, before: float, after: float) -> bool:
    """Whether a metric is no number any more that was one, other than the worst: a model without false alarms has no precision of 0."""
    if not math.isfinite(before) or math.isfinite(after):
        return False
    name = metric.rpartition("/")[2]
    if lower_is_better(metric):
        worst = 1.0 if "rate" in canonical(name) else math.inf
    else:  # what may be below 0, such as a correlation, is not at its worst there
        worst = 0.0 if _is_from_zero(name) else -math.inf
    return before != worst


def _is_from_zero(name: str) -> bool:
    """Whether a metric of which more is better has 0 as its least value: our own have; of others those known to."""
    if any(own_results([name], task, sys.maxsize)[0] for task in TASKS):
        return True
    return any(part in canonical(name).lower() for part in _FROM_ZERO)


def compare(before: EvaluationResult, after: EvaluationResult) -> Comparison:
    """Returns the second evaluation against the first.

    Evaluations of the same data with the same way of estimating intervals left the same rows out, or drew the same samples: the
    interval of a difference then is that of the differences, and what both models have in common does not widen it. Others
    are taken for independent.

    Args:
        before: of the model that is served.
        after: of the one that may replace it.
    """
    before, after = _respelled(before), _respelled(after)
    same = bool(before.data) and all(
        getattr(before, what) == getattr(after, what) is not None
        for what in ("data", "rows", "label", "weight", "query")
    )
    paired = same and before.intervals == after.intervals != Intervals.NONE.value
    intervals = Intervals(after.intervals)
    old = {_key(s): s for s in before.slices if not s.merged}
    new = {_key(s): s for s in after.slices if not s.merged}
    pairs: list[tuple[str, int, Any, Any]] = [("all rows", after.rows, before, after)]
    pairs += [(s.name, s.rows, old[key], s) for key, s in new.items() if key in old]
    changes = [each for pair in pairs for each in _changes(*pair, intervals if paired else None)]
    return Comparison(
        before=before,
        after=after,
        paired=paired,
        changes=changes,
        only_before=[s.name for key, s in old.items() if key not in new],
        only_after=[s.name for key, s in new.items() if key not in old],
        same_rows=same,
    )


def _respelled(result: Any) -> Any:
    """The evaluation, or a segment of it, with the names of metrics as this version writes them."""
    names = getattr(result, "overall", None) or getattr(result, "metrics", {})
    if all(respelled(name) == name for name in names):
        return result
    changed: dict[str, Any] = {
        field: {respelled(name): value for name, value in (getattr(result, field, None) or {}).items()}
        for field in ("overall", "metrics", "half_widths", "deviations")
        if hasattr(result, field)
    }
    if hasattr(result, "slices"):
        changed["slices"] = [_respelled(each) for each in result.slices]
    return dataclasses.replace(result, **changed)


def _key(segment: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(segment.key.items())


def _changes(segment: str, rows: int, before: Any, after: Any, intervals: Intervals | None) -> Iterator[Change]:
    old, new = (getattr(each, "overall", None) or getattr(each, "metrics", {}) for each in (before, after))
    for metric, value in new.items():
        if metric not in old or metric == "example_count":
            continue
        yield Change(
            segment=segment,
            rows=rows,
            metric=metric,
            before=old[metric],
            after=value,
            half_width=_half_width(metric, before, after, intervals),
        )


def _half_width(metric: str, before: Any, after: Any, intervals: Intervals | None) -> float:
    if intervals is not None:
        one, two = (_deviations(each.deviations, metric) for each in (before, after))
        return math.nan if one is None or two is None else float(half_width(two - one, intervals))
    return math.hypot(before.half_widths.get(metric, math.nan), after.half_widths.get(metric, math.nan))


def _deviations(found: Mapping[str, np.ndarray], metric: str) -> np.ndarray | None:
    each = found.get(metric)
    return None if each is None or len(each) != PARTS else each.astype(np.float64)
