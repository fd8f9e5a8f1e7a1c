"""Metrics of several classes of which each row has one.

What is of rows (accuracy, loss) takes the same memory however many classes there are. Counts of each class are dense for few classes; of
many, most of which have no row in a segment's part, those are kept that have one, so that memory grows with rows and not with classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainers.evaluation.accumulators.grouped_sums import DenseSums, SparseSums, grown, ratio
from trainers.evaluation.accumulators.row_sums import clipped_probability

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

__all__ = ["ClassSums", "ManyClassSums", "MulticlassSums", "class_sums", "mean_of_classes", "weighted_mean"]

_DENSE_CLASSES = 1024  # 24 kB a group; more are kept sparse


class MulticlassSums(DenseSums):
    """Accuracy and cross entropy, for integer labels and a probability a class.

    Args:
        classes: number of classes.
        top: the label counts as found among so many of the highest probabilities; each number gives an accuracy.
    """

    def __init__(self, classes: int = 2, top: Sequence[int] = (5,)) -> None:
        self.classes, self.top = classes, tuple(dict.fromkeys(min(k, classes) for k in top))
        self.width = 3 + len(self.top)
        super().__init__()

    def _empty(self) -> Self:
        return type(self)(self.classes, self.top)

    def row_values(self, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Returns what is added up of each row; labels are whole numbers from 0 on, below the number of classes."""
        truth: np.ndarray = labels.astype(np.int64)
        predictions = predictions.astype(np.float64)
        own = predictions[np.arange(len(truth)), truth]
        share = clipped_probability(own / predictions.sum(axis=1))
        rank: np.ndarray = (predictions > own[:, None]).sum(axis=1)
        hit = predictions.argmax(axis=1) == truth
        found = [weights * (rank < k) for k in self.top]
        return np.stack([weights, weights * hit, -weights * np.log(share), *found])

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the metrics of each group."""
        sums = self.padded(size)
        total, right, loss = sums[:3]
        out = {
            "sparse_categorical_accuracy": ratio(right, total),
            "sparse_categorical_crossentropy": ratio(loss, total),
            "micro_precision": ratio(right, total),  # each row has one label and one answer
            "micro_recall": ratio(right, total),
            "micro_f1_score": ratio(right, total),
        }
        out.update({f"top_{k}_accuracy": ratio(top, total) for k, top in zip(self.top, sums[3:])})
        return out


def class_sums(classes: int, wanted: Sequence[int], samples: int = 1) -> ClassSums | ManyClassSums:
    """Returns the accumulator of counts by class that suits their number.

    Args:
        classes: number of classes.
        wanted: classes that have results of their own; of few classes all do.
        samples: bootstrap samples of each group.
    """
    return ClassSums(classes) if classes <= _DENSE_CLASSES else ManyClassSums(classes, wanted, samples)


class ClassSums(DenseSums):
    """Weight of the rows of each class, of those said to be of it, and of those that are both.

    Args:
        classes: number of classes.
    """

    def __init__(self, classes: int) -> None:
        self.classes, self.width = classes, 3 * classes
        super().__init__()

    def _empty(self) -> Self:
        return type(self)(self.classes)

    def update(self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows."""
        self._add(groups, labels.astype(np.int64), predictions.argmax(axis=1), weights)

    def update_samples(
        self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, counts: np.ndarray
    ) -> None:
        """Adds rows to samples: counts [samples, n] say how often each is in each of them."""
        truth, chosen = labels.astype(np.int64), predictions.argmax(axis=1)
        for sample, times in enumerate(counts):
            self._add(groups * len(counts) + sample, truth, chosen, weights * times)

    def _add(self, groups: np.ndarray, truth: np.ndarray, chosen: np.ndarray, weights: np.ndarray) -> None:
        # Into their places: values of every class for each row would be most of the memory.
        self.sums = np.ascontiguousarray(grown(self.sums, int(groups.max(initial=-1)) + 1))
        flat, size, hit = self.sums.reshape(-1), self.sums.shape[1], chosen == truth
        np.add.at(flat, truth * size + groups, weights)
        np.add.at(flat, (self.classes + chosen) * size + groups, weights)
        np.add.at(flat, ((2 * self.classes + truth) * size + groups)[hit], weights[hit])

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the metrics of each group; `precision@classId:2` is that of one class."""
        of, said, both = self.padded(size).reshape(3, self.classes, size)
        out = _means(of, said, both)
        for name, values in zip(_RATES, _rates(of, said, both)):
            out.update({f"{name}@classId:{index}": row for index, row in enumerate(values)})
        return out


class ManyClassSums(SparseSums):
    """The same of many classes: those without a row in a group take no memory.

    Args:
        classes: number of classes.
        wanted: classes that have results of their own.
        samples: bootstrap samples of each group.
    """

    width = 3

    def __init__(self, classes: int, wanted: Sequence[int] = (), samples: int = 1) -> None:
        self.slots, self.wanted = classes, tuple(wanted)
        super().__init__(samples)

    def _empty(self) -> Self:
        return type(self)(self.slots, self.wanted, self._samples)

    def update(self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows."""
        self.add(np.tile(groups, 2), *_counted(labels, predictions, weights))

    def update_samples(
        self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, counts: np.ndarray
    ) -> None:
        """Adds rows to samples: counts [samples, n] say how often each is in each of them."""
        self.add_samples(np.tile(groups, 2), *_counted(labels, predictions, weights), np.tile(counts, 2))

    def without(self, size: int, parts: int) -> _ClassesLeftOut:
        """Returns what gives for each group here the results of its whole without it."""
        return _ClassesLeftOut(self, size, parts)

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the metrics of each group."""
        return self.of_groups(size, self.samples_of(size))

    def of_groups(self, size: int, groups: Iterator[tuple[int, np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
        """Returns float64 [size] for each metric.

        Args:
            size: number of groups.
            groups: each with its number, its classes, ascending, and their sums [3, n].
        """
        out = {name: np.full(size, np.nan) for name in _means(*np.zeros((3, 0, 1)))}
        wanted = np.array(self.wanted, np.int64)
        own = np.full((len(wanted), len(_RATES), size), np.nan)
        for group, classes, sums in groups:
            counts = sums[:, :, None]
            for name, value in _means(*counts).items():
                out[name][group] = value[0]
            places = np.searchsorted(classes, wanted)
            there = places < len(classes)
            there[there] = classes[places[there]] == wanted[there]
            for rate, values in enumerate(_rates(*counts)):
                own[there, rate, group] = values[places[there], 0]
        names = [[f"{name}@classId:{each}" for name in _RATES] for each in self.wanted]
        return out | {name: row for of, rows in zip(names, own) for name, row in zip(of, rows)}


class _ClassesLeftOut:
    """The metrics of each segment without each of its parts; sums are made for one part at a time, not for all at once."""

    def __init__(self, whole: ManyClassSums, size: int, parts: int) -> None:
        self._whole, self._size, self._parts = whole, size, parts

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the metrics [segments * parts]."""
        return self._whole.of_groups(size, self._groups())

    def _groups(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        for segment, (classes, places, part, sums) in enumerate(self._whole.segments(self._size, self._parts)):
            total = np.stack([np.bincount(places, row, len(classes)) for row in sums])
            bounds = np.searchsorted(part, np.arange(self._parts + 1)).tolist()
            for index in range(self._parts):
                mine = slice(bounds[index], bounds[index + 1])
                left = total.copy()
                left[:, places[mine]] -= sums[:, mine]  # each class of a part is there once
                left[np.abs(left) < 1e-12 * total] = 0.0  # what leaving a part out left of rounding
                yield segment * self._parts + index, classes, left


def _counted(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the classes of rows and those that were answered [2 n], and what each adds up [3, 2 n]."""
    truth, chosen = labels.astype(np.int64), predictions.argmax(axis=1)
    values = np.zeros((3, 2 * len(truth)))
    values[0, : len(truth)], values[1, len(truth) :] = weights, weights
    values[2, : len(truth)] = weights * (chosen == truth)
    return np.concatenate([truth, chosen]), values


_RATES = ("precision", "recall", "f1_score")


def _rates(of: np.ndarray, said: np.ndarray, both: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns precision, recall and F1 of each class [k, n]; NaN for 0 of 0."""
    return ratio(both, said), ratio(both, of), ratio(2 * both, said + of)


def _means(of: np.ndarray, said: np.ndarray, both: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the means over classes [n] of counts by class [k, n]."""
    rates = _rates(of, said, both)
    # As in scikit-learn, what is 0 of 0 counts as 0 for a class that occurs in labels or answers, and other classes do not.
    occurs = said + of > 0
    out = {"balanced_accuracy": mean_of_classes(rates[1])}
    for name, values in zip(_RATES, rates):
        known = np.where(occurs & np.isnan(values), 0.0, values)
        out[f"macro_{name}"] = mean_of_classes(known)
        out[f"weighted_{name}"] = weighted_mean(known, of)
    return out


def mean_of_classes(by_class: np.ndarray) -> np.ndarray:
    """Returns the mean over the classes [k, n] whose value is a number."""
    known = ~np.isnan(by_class)
    return ratio(np.where(known, by_class, 0).sum(axis=0), known.sum(axis=0).astype(float))


def weighted_mean(by_class: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the mean over the classes [k, n] whose value is a number, by the weight [k, n] of each."""
    known = np.where(np.isnan(by_class), 0.0, weights)
    return ratio((np.nan_to_num(by_class) * known).sum(axis=0), known.sum(axis=0))
