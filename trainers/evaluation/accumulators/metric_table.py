"""All metrics of all segments of one kind, with what their intervals are estimated from, from one pass."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainers.evaluation.accumulators.base import Accumulator
from trainers.evaluation.accumulators.error_quantiles import ErrorQuantiles
from trainers.evaluation.accumulators.grouped_sums import DenseSums
from trainers.evaluation.accumulators.multiclass_sums import MulticlassSums, class_sums
from trainers.evaluation.accumulators.per_class import ClassAreas, MultilabelSums
from trainers.evaluation.accumulators.ranking import RankedRows
from trainers.evaluation.accumulators.row_sums import BinarySums, CalibrationBins, PinballSums, RegressionSums
from trainers.evaluation.accumulators.sampling import PARTS, Intervals, half_width, part_of, poisson_counts
from trainers.evaluation.accumulators.score_histogram import ScoreHistogram
from trainers.evaluation.metric_names import threshold_text

__all__ = ["PARTS", "RANKING", "Intervals", "MetricTable", "poisson_counts"]

RANKING = re.compile(r"(?:mrr|map|ndcg(?:_at_\d+)?|(?:precision|recall)_at_\d+)")
_DEFAULT_TOP = 5
_SCORES = {"auc", "auc_precision_recall"}
# Of counts by class.
_BY_CLASS = re.compile(r"(macro|weighted)_(precision|recall|f1)|balanced_|(precision|recall|f1_score)@")


class MetricTable:
    """Metrics of a task over groups of rows.

    Args:
        task: "binary", "multiclass", "multilabel" or "regression".
        intervals: estimated from the same pass.
        classes: number of classes of "multiclass" and "multilabel".
        names: results wanted; those that are always there need no name.
        histogram: keep that of a probability, whether or not a result needs it.
    """

    def __init__(
        self,
        task: str,
        intervals: Intervals = Intervals.NONE,
        classes: int = 2,
        names: Sequence[str] = (),
        histogram: bool = True,
    ) -> None:
        self._settings = (task, intervals, classes, tuple(names), histogram)
        self._intervals = intervals
        wanted = task, classes, names, histogram
        self.plain = _accumulators(*wanted, PARTS if intervals is Intervals.JACKKNIFE else 1)
        # Samples overlap: totals are exact in sums of their own.
        self.parted = _accumulators(*wanted, samples=PARTS) if intervals is Intervals.BOOTSTRAP else self.plain
        ranking = [name for name in names if RANKING.fullmatch(name)]
        self.ranking = RankedRows(ranking) if ranking else None

    def update(
        self,
        groups: np.ndarray,
        labels: np.ndarray,
        predictions: np.ndarray,
        weights: np.ndarray,
        ids: np.ndarray,
        queries: np.ndarray | None = None,
    ) -> None:
        """Adds rows.

        Args:
            groups: int64 [n], the segment of each row.
            labels, predictions, weights: as `Accumulator.update` takes them.
            ids: int64 [n], the number of each row in the data: the interval depends on nothing else.
            queries: int64 [n], the query of each row, where rankings are measured.
        """
        if self.ranking is not None and queries is not None:
            self.ranking.update(groups, queries, labels, predictions, weights)
        if self._intervals is Intervals.JACKKNIFE:
            parts = groups * PARTS + part_of(ids)
            for each in self.plain:
                each.update(parts, labels, predictions, weights)
            return
        for each in self.plain:
            each.update(groups, labels, predictions, weights)
        if self._intervals is Intervals.BOOTSTRAP:
            counts = np.stack([poisson_counts(ids, sample) for sample in range(PARTS)])
            for each in self.parted:
                each.update_samples(groups, labels, predictions, weights, counts)

    def merge(self, other: MetricTable, mapping: np.ndarray) -> None:
        """Adds another table of the same settings; `mapping` has the number here of each of its groups."""
        for mine, theirs in zip(self.accumulators(), other.accumulators()):
            if isinstance(mine, DenseSums):
                mine.add_groups(theirs, mapping, self._parts_of(mine))
            else:
                mine.merge(theirs.regrouped(mapping, self._parts_of(mine)))

    def regrouped(self, mapping: np.ndarray) -> MetricTable:
        """Returns the table by other numbers of groups, several of which may become one."""
        out = MetricTable(*self._settings)
        out.plain = [each.regrouped(mapping, self._parts_of(each)) for each in self.plain]
        bootstrap = self._intervals is Intervals.BOOTSTRAP
        out.parted = [each.regrouped(mapping, PARTS) for each in self.parted] if bootstrap else out.plain
        out.ranking = None if self.ranking is None else self.ranking.regrouped(mapping, 1)
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns all that is held, by name."""
        return {
            f"{i}.{name}": array for i, each in enumerate(self.accumulators()) for name, array in each.arrays().items()
        }

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Holds what `arrays` of a table of the same settings returned."""
        for index, each in enumerate(self.accumulators()):
            start = f"{index}."
            each.load({name[len(start) :]: array for name, array in arrays.items() if name.startswith(start)})

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns float64 [size] for each metric."""
        whole = self.plain
        if self._intervals is Intervals.JACKKNIFE:
            whole = [each.folded(size, PARTS) for each in self.plain]
        found = {name: values for each in reversed(whole) for name, values in each.results(size).items()}
        return {**found, **(self.ranking.results(size) if self.ranking is not None else {})}

    def histogram(self, size: int) -> ScoreHistogram | None:
        """Returns the histogram of the probability in each group; None where the task has no probability."""
        for each in self.plain:
            if isinstance(each, ScoreHistogram):
                return each.folded(size, PARTS) if self._intervals is Intervals.JACKKNIFE else each
        return None

    def replicates(self, size: int) -> dict[str, np.ndarray]:
        """Returns float64 [size, PARTS] for each metric: without each part, or over each sample; {} without intervals."""
        if self._intervals is Intervals.NONE:
            return {}
        jackknife = self._intervals is Intervals.JACKKNIFE
        samples = [each.without(size, PARTS) for each in self.parted] if jackknife else self.parted
        out = {}
        for each in reversed(samples):
            for name, values in each.results(size * PARTS).items():
                out[name] = values.reshape(size, PARTS)
        return {**out, **(self.ranking.replicates(size, self._intervals) if self.ranking is not None else {})}

    def half_widths(self, size: int) -> dict[str, np.ndarray]:
        """Returns float64 [size] for each metric: half of its 95 % interval; NaN where it is unknown."""
        return {name: half_width(values, self._intervals) for name, values in self.replicates(size).items()}

    def accumulators(self) -> list[Any]:
        """Returns all that rows are added to."""
        parted = list(self.parted) if self._intervals is Intervals.BOOTSTRAP else []
        return [*self.plain, *parted, *([] if self.ranking is None else [self.ranking])]

    def _parts_of(self, each: Any) -> int:
        if each is self.ranking or self._intervals is Intervals.NONE:
            return 1
        return PARTS if any(each is parted for parted in self.parted) else 1


def _accumulators(
    task: str, classes: int, names: Sequence[str], histogram: bool, parts: int = 1, samples: int = 1
) -> list[Accumulator]:
    """The first that gives a result decides about it; `parts` groups are of one segment, or each has so many samples."""
    areas: list[Accumulator] = [ClassAreas(classes, parts, samples)] if any("auc" in name for name in names) else []
    if task == "multilabel":
        return [MultilabelSums(classes), *areas]
    if task == "multiclass":
        top = [int(match[1]) for name in names if (match := re.fullmatch(r"top_(\d+)_accuracy", name))]
        by_class = not names or any(_BY_CLASS.match(name) for name in names)
        wanted = [int(match[1]) for name in names if (match := re.fullmatch(r".*@classId:(\d+)", name))]
        counts = [class_sums(classes, list(dict.fromkeys(wanted)), samples)] if by_class else []
        return [MulticlassSums(classes, top or [_DEFAULT_TOP]), *counts, *areas]
    percents = [50] if "median_absolute_error" in names else []
    percents += [int(name.removeprefix("absolute_error_p")) for name in names if name.startswith("absolute_error_p")]
    errors = [ErrorQuantiles(percents, samples)] if percents else []
    pinball = [PinballSums(float(name.partition("@")[2])) for name in names if name.startswith("pinball_loss@")]
    if task == "regression":
        return [RegressionSums(), *errors, *pinball]
    others = [name for name in names if not name.startswith("pinball_loss@")]
    at = dict.fromkeys(float(match[1]) for name in others if (match := re.fullmatch(r"[a-z_0-9]+@([\d.]+)", name)))
    scores = [ScoreHistogram(parts, samples)] if histogram or _SCORES.intersection(names) else []
    bins = [CalibrationBins()] if "expected_calibration_error" in names else []
    return [BinarySums(), *scores, *bins, *errors, *pinball, *(_AtThreshold(each) for each in at)]


class _AtThreshold(BinarySums):
    """The confusion at another threshold, its results with that at the end: "recall@0.3"."""

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the metrics of each group."""
        return {f"{name}@{threshold_text(self.threshold)}": values for name, values in super().results(size).items()}
