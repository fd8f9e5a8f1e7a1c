"""Metrics of several labels at once: each class is a question of its own, and means over the classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.evaluation.accumulators.grouped_sums import DenseSums, ratio
from trainers.evaluation.accumulators.multiclass_sums import mean_of_classes, weighted_mean
from trainers.evaluation.accumulators.row_sums import BinarySums
from trainers.evaluation.accumulators.score_histogram import ScoreHistogram

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

__all__ = ["ClassAreas", "MultilabelSums"]


class _ExactMatches(DenseSums):
    """Weight of the rows whose labels are all answered right."""

    width = 2

    def row_values(self, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Returns what is added up of each row."""
        exact = ((predictions > 0.5) == (labels > 0.5)).all(axis=1)
        return np.stack([weights, weights * exact])


class MultilabelSums:
    """Confusion and log loss of each class at 0.5, for labels and probabilities [n, k]; a row may have any number of labels.

    Args:
        classes: number of classes.
    """

    def __init__(self, classes: int) -> None:
        self._rows = _ExactMatches()
        self.classes = [BinarySums() for _ in range(classes)]

    def update(self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows."""
        self._rows.update(groups, labels, predictions, weights)
        for index, each in enumerate(self.classes):
            each.update(groups, labels[:, index], predictions[:, index], weights)

    def update_samples(
        self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, counts: np.ndarray
    ) -> None:
        """Adds rows to samples: counts [samples, n] say how often each is in each of them."""
        self._rows.update_samples(groups, labels, predictions, weights, counts)
        for index, each in enumerate(self.classes):
            each.update_samples(groups, labels[:, index], predictions[:, index], weights, counts)

    def merge(self, other: MultilabelSums) -> None:
        """Adds the other's sums."""
        for mine, theirs in zip(self.parts(), other.parts()):
            mine.merge(theirs)

    def folded(self, size: int, parts: int) -> Self:
        """Returns the sums of groups of `parts` groups each."""
        return self._of([each.folded(size, parts) for each in self.parts()])

    def without(self, size: int, parts: int) -> Self:
        """Returns for each group here what its whole has without it."""
        return self._of([each.without(size, parts) for each in self.parts()])

    def regrouped(self, mapping: np.ndarray, parts: int) -> Self:
        """Returns the sums by other numbers of groups."""
        return self._of([each.regrouped(mapping, parts) for each in self.parts()])

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the sums of the rows and of each class."""
        return {str(index): each.sums for index, each in enumerate(self.parts())}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Holds the sums of `arrays`."""
        for index, each in enumerate(self.parts()):
            each.load({"sums": arrays[str(index)]})

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the metrics of each group."""
        total, exact = self._rows.padded(size)
        classes = [each.results(size) for each in self.classes]
        every = BinarySums()
        for each in self.classes:
            every.merge(each)
        micro = every.results(size)
        out = {
            "subset_accuracy": ratio(exact, total),
            "hamming_loss": 1 - micro["binary_accuracy"],
            "binary_crossentropy": micro["binary_crossentropy"],
        }
        sums = np.stack([each.padded(size) for each in self.classes])  # [k, sums, n]
        of = sums[:, 0] + sums[:, 2]
        occurs = of + sums[:, 1] > 0
        for name in ("precision", "recall", "f1_score"):
            values = np.stack([each[name] for each in classes])
            # As in scikit-learn, what is 0 of 0 counts as 0 for a class that occurs; classes that never occur do not count.
            known = np.where(occurs & np.isnan(values), 0.0, values)
            out[f"micro_{name}"] = micro[name]
            out[f"macro_{name}"] = mean_of_classes(known)
            out[f"weighted_{name}"] = weighted_mean(known, of)
            out.update({f"{name}@classId:{index}": row for index, row in enumerate(values)})
        return out

    def parts(self) -> list[DenseSums]:
        """Returns the sums of the rows, and of each class."""
        return [self._rows, *self.classes]

    def _of(self, parts: list[DenseSums]) -> Self:
        out = type(self)(len(self.classes))
        for mine, theirs in zip(out.parts(), parts):
            mine.sums = theirs.sums
        return out


class ClassAreas:
    """Areas under the curves of each class against the others, and their means over the classes that have one.

    Args:
        classes: number of classes.
        parts: so many groups are of one segment.
        samples: bootstrap samples of each group.
    """

    def __init__(self, classes: int, parts: int = 1, samples: int = 1) -> None:
        self.classes = [ScoreHistogram(parts, samples) for _ in range(classes)]

    def update(self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows: labels [n, k], or the class of each row [n]."""
        for index, each in enumerate(self.classes):
            each.update(groups, _of_class(labels, index), predictions[:, index], weights)

    def update_samples(
        self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, counts: np.ndarray
    ) -> None:
        """Adds rows to samples: counts [samples, n] say how often each is in each of them."""
        for index, each in enumerate(self.classes):
            each.update_samples(groups, _of_class(labels, index), predictions[:, index], weights, counts)

    def merge(self, other: ClassAreas) -> None:
        """Adds the other's weights."""
        for mine, theirs in zip(self.classes, other.classes):
            mine.merge(theirs)

    def folded(self, size: int, parts: int) -> Self:
        """Returns the histograms of groups of `parts` groups each."""
        return self._of([each.folded(size, parts) for each in self.classes])

    def without(self, size: int, parts: int) -> Self:
        """Returns for each group here what its whole has without it."""
        return self._of([each.without(size, parts) for each in self.classes])

    def regrouped(self, mapping: np.ndarray, parts: int) -> Self:
        """Returns the histograms by other numbers of groups."""
        return self._of([each.regrouped(mapping, parts) for each in self.classes])

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the histogram of each class."""
        return {f"{name}.{i}": a for i, each in enumerate(self.classes) for name, a in each.arrays().items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Holds the histograms of `arrays`."""
        for index, each in enumerate(self.classes):
            mine = (name for name in arrays if name.rpartition(".")[2] == str(index))
            each.load({name.rpartition(".")[0]: arrays[name] for name in mine})

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the areas of each group; `auc@classId:2` is that of one class."""
        classes = [each.results(size) for each in self.classes]
        out: dict[str, np.ndarray] = {}
        for name in ("auc", "auc_precision_recall"):
            values = np.stack([each[name] for each in classes])
            out[f"macro_{name}"] = mean_of_classes(values)
            out.update({f"{name}@classId:{index}": row for index, row in enumerate(values)})
            if f"{name}_error_bound" not in classes[0]:  # left out parts have none
                continue
            bounds = np.stack([each[f"{name}_error_bound"] for each in classes])
            out[f"macro_{name}_error_bound"] = mean_of_classes(bounds)
            out.update({f"{name}@classId:{index}_error_bound": row for index, row in enumerate(bounds)})
        return out

    def _of(self, classes: list[Any]) -> Self:
        out = type(self)(0)
        out.classes = classes
        return out


def _of_class(labels: np.ndarray, index: int) -> np.ndarray:
    """Whether each row is of a class, as 1.0 and 0.0."""
    return labels[:, index] if labels.ndim == 2 else (labels == index).astype(np.float64)
