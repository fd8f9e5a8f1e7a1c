"""Areas under curves, from the distinct values of a probability: mergeable, exact up to many values, with a bound on the error beyond.

A probability has a slot of its own: the bits of a float32 of its distance from 0 or 1, whichever is nearer, so that scores near both
ends are told apart as well as those in the middle. A segment of more than `MOST_SLOTS` distinct scores gets wider slots, those next to
the ends, which are the narrowest, first. How wide depends on its scores alone, not on their order or on how the data are cut: the
least level at which the slots are few enough for all rows is never below that for some of them.

Scores of a wider slot are taken for equal. The area under the ROC curve counts a pair of a positive and a negative in one slot as
half right, as a tie; the exact area is at most half of such pairs' share away, which `auc_error_bound` is. That of the other area is
how far the curve of the best and of the worst order within slots is away. Both are 0 where every score had a slot of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from trainers.evaluation.accumulators.grouped_sums import SparseSums, summed_by_key

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

__all__ = ["MOST_SLOTS", "ScoreHistogram"]

MOST_SLOTS = 1 << 18
_HALF = 0x3F000000  # bits of 0.5
_TOP = 2 * _HALF + 1  # slot of 1.0; that of 0.0 is 0, and 0.5 is the last of the lower side
_FRACTION = 23  # bits of a float32's fraction
_FIRST = 63  # so many levels go by before the octave next to 0.5 is widened
_NEVER = 1 << 20


class ScoreHistogram(SparseSums):
    """Weights of positives and negatives at each score, by group.

    Args:
        parts: so many groups, one after the other, are of one segment and have the same slots.
        samples: bootstrap samples of each group.
    """

    width, slots = 2, 1 << 31

    def __init__(self, parts: int = 1, samples: int = 1) -> None:
        super().__init__(samples)
        self._parts = parts
        self._levels = np.zeros(0, np.int64)  # of each segment
        self._rounded = False  # a score between two float32
        self._changed = False

    def _empty(self) -> Self:
        return type(self)(self._parts, self._samples)

    def slot_values(
        self, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the slots of probabilities, and their weights; what is above 1 counts as 1, within the bound on the error."""
        slots, exact = _slots_of(predictions)
        self._rounded |= not exact
        self._changed = True
        return slots, np.stack([weights * labels, weights * (1 - labels)])

    def merge(self, other: SparseSums) -> None:
        """Adds the weights of another histogram."""
        assert isinstance(other, ScoreHistogram)
        self.take_levels(other)
        self.append(*other.whole())

    def folded(self, size: int, parts: int) -> Self:
        """Returns the weights of groups of `parts` groups each."""
        keys, sums = self.whole()
        out = type(self)()
        out.take_levels(self, self._levels)
        out.append(*summed_by_key(keys // (self.slots * parts) * self.slots + keys % self.slots, sums))
        return out

    def without(self, size: int, parts: int) -> _LeftOut:
        """Returns what gives for each group here the results of its whole without it."""
        return _LeftOut(self, size, parts)

    def regrouped(self, mapping: np.ndarray, parts: int) -> Self:
        """Returns the weights by other numbers of groups."""
        out = super().regrouped(mapping, parts)
        levels = np.zeros(int(mapping.max(initial=-1)) + 1, np.int64)
        np.maximum.at(levels, mapping, self._level_of(np.arange(len(mapping))))
        out.take_levels(self, levels)
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the keys, their sums, and how wide the slots are."""
        return {**super().arrays(), "levels": self._levels, "rounded": np.array(self._rounded)}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Holds the weights of `arrays`."""
        super().load(arrays)
        self._levels, self._rounded = arrays["levels"], bool(arrays["rounded"])

    def whole(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the keys, ascending, and their sums [2, n], of the narrowest type that holds them."""
        if not self._changed and len(self._keys) == 1:
            return self._keys[0], self._sums[0]
        keys, sums = np.concatenate(self._keys), np.concatenate(self._sums, axis=1)
        keys, sums = summed_by_key(self._widened(keys), sums)
        wider = False
        for segment, slots in self._large(keys):
            wider = True
            self._levels = _grown(self._levels, segment + 1)
            self._levels[segment] = _least_level(slots)
        if wider:
            keys, sums = summed_by_key(self._widened(keys), sums)
        self._keys, self._sums, self._pending, self._changed = [keys], [sums], 0, False
        return keys, sums

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the areas of each group, and how far the exact ones may be away."""
        names = ("auc", "auc_precision_recall", "auc_error_bound", "auc_precision_recall_error_bound")
        out = {name: np.full(size, np.nan) for name in names}
        for group, _, part in self.samples_of(size):
            out["auc"][group], out["auc_precision_recall"][group] = _areas(part)
            exact = self.exact(group // self._parts // self._samples)
            out["auc_error_bound"][group] = 0.0 if exact else _roc_bound(part)
            out["auc_precision_recall_error_bound"][group] = 0.0 if exact else _pr_bound(part)
        for name in ("auc", "auc_precision_recall"):  # no bound of what has no meaning
            out[f"{name}_error_bound"][np.isnan(out[name])] = np.nan
        return out

    def exact(self, segment: int) -> bool:
        """Whether each score of a segment has a slot of its own."""
        self.whole()
        return not self._rounded and int(self._level_of(np.array([segment]))[0]) == 0

    def scores(self, slots: np.ndarray, segment: int = 0) -> np.ndarray:
        """Returns the least score of each slot: those in it and in higher ones, no others, are at least this."""
        low, bits = _sides(slots)
        if self.exact(segment):
            return np.where(low, _floats(bits), 1 - _floats(bits))
        level = self._level_of(np.full(len(slots), segment))
        # The upper side's slots hold distances from 1 from their own on, up to and without the next slot's.
        upper = np.nextafter(1 - _floats(bits + (1 << _dropped(bits, level))), 1)
        return np.where(low, _floats(bits), upper)

    def take_levels(self, other: ScoreHistogram, levels: np.ndarray | None = None) -> None:
        """Makes slots at least as wide as another's, whose sums will be added; `levels` are its by other segments."""
        levels = other._levels if levels is None else levels
        self._levels = _grown(self._levels, len(levels))
        self._levels[: len(levels)] = np.maximum(self._levels[: len(levels)], levels)
        self._rounded |= other._rounded
        self._changed = True

    def _level_of(self, segments: np.ndarray) -> np.ndarray:
        levels: np.ndarray = _grown(self._levels, int(segments.max(initial=-1)) + 1)[segments]
        return levels

    def _widened(self, keys: np.ndarray) -> np.ndarray:
        """Keys with the slots of their segments' levels."""
        if not self._levels.any():
            return keys
        groups: np.ndarray = keys // self.slots
        low, bits = _sides(keys % self.slots)
        dropped = _dropped(bits, self._level_of(groups // self._parts))
        bits = bits >> dropped << dropped
        widened: np.ndarray = groups * self.slots + np.where(low, bits, _TOP - bits)
        return widened

    def _large(self, keys: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the segments that have too many slots, with these, ascending."""
        if len(keys) <= MOST_SLOTS:
            return
        span = self._parts * self.slots
        starts = np.searchsorted(keys, np.arange(int(keys[-1] // span) + 2) * span)
        for segment in np.flatnonzero(np.diff(starts) > MOST_SLOTS).tolist():
            slots = keys[starts[segment] : starts[segment + 1]] % self.slots
            if self._parts > 1:  # which have slots in common; sorted, since NumPy's hashing is slower on so many
                slots = np.sort(slots)
                slots = slots[np.diff(slots, prepend=-1) > 0]
            if len(slots) > MOST_SLOTS:
                yield segment, slots


class _LeftOut:
    """The areas of each segment without each of its parts; sums are made for one part at a time, not for all at once."""

    def __init__(self, whole: ScoreHistogram, size: int, parts: int) -> None:
        self._whole, self._size, self._parts = whole, size, parts

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the areas [segments * parts]."""
        out = {name: np.full(size, np.nan) for name in ("auc", "auc_precision_recall")}
        for segment, (slots, places, part, sums) in enumerate(self._whole.segments(self._size, self._parts)):
            total = np.stack([np.bincount(places, row, len(slots)) for row in sums])
            bounds = np.searchsorted(part, np.arange(self._parts + 1)).tolist()
            for index, (first, last) in enumerate(itertools.pairwise(bounds)):
                left = total.copy()
                left[:, places[first:last]] -= sums[:, first:last]  # each slot of a part is there once
                left[np.abs(left) < 1e-12 * total] = 0.0  # what leaving a part out left of rounding
                at = segment * self._parts + index
                out["auc"][at], out["auc_precision_recall"][at] = _areas(left)
        return out


def _slots_of(scores: np.ndarray) -> tuple[np.ndarray, bool]:
    """Returns the slot of each score, and whether none shares its slot with another number."""
    scores = scores.astype(np.float64)
    inside = np.minimum(scores, 1.0) + 0.0  # a softmax may round to more than 1; -0.0 has other bits than 0.0
    low = inside <= 0.5
    near = np.where(low, inside, 1 - inside)  # exact: above 0.5 nothing is rounded
    kept = near.astype(np.float32)
    bits = kept.view(np.int32).astype(np.int64) - (kept > near)  # the float32 at or below it
    return np.where(low, bits, _TOP - bits), bool((kept == near).all() and (inside == scores).all())


def _sides(slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns whether each slot is of the lower side, and the bits of its distance from its end."""
    low = slots <= _HALF
    return low, np.where(low, slots, _TOP - slots)


def _floats(bits: np.ndarray) -> np.ndarray:
    return bits.astype(np.int32).view(np.float32).astype(np.float64)


def _octave(bits: np.ndarray) -> np.ndarray:
    """0 for 0.5, 1 from a quarter on, 2 from an eighth on, ..."""
    return (_HALF >> _FRACTION) - (bits >> _FRACTION)


def _dropped(bits: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Bits that a level drops in each slot's octave: half a bit more with each octave, so that width grows as the root."""
    dropped: np.ndarray = np.clip(level - _FIRST + _octave(bits) // 2, 0, _FRACTION)
    return dropped


def _least_level(slots: np.ndarray) -> int:
    """Returns the least level at which ascending distinct slots are few enough."""
    low, bits = _sides(slots)
    one, two = bits[:-1], bits[1:]
    differ = np.frexp((one ^ two).astype(np.float64))[1]  # number of bits from the highest that differs
    level = _FIRST - _octave(one) // 2 + differ
    apart = (low[:-1] != low[1:]) | (_octave(one) != _octave(two))
    meet = np.sort(np.where(apart, _NEVER, level))
    # Neighbours that meet at a level become one: so many must.
    return int(meet[len(slots) - MOST_SLOTS - 1])


def _grown(levels: np.ndarray, size: int) -> np.ndarray:
    return np.pad(levels, (0, max(0, size - len(levels))))


def _areas(sums: np.ndarray) -> tuple[float, float]:
    """Returns the areas under both curves: slots in ascending order."""
    positives, negatives = sums
    if not positives.sum() > 0:
        return np.nan, np.nan
    roc = np.nan
    if negatives.sum() > 0:
        below = np.cumsum(negatives) - negatives
        # Not `@`: BLAS adds in as many parts as it has threads.
        # Divided before they are multiplied: of weights of 1e-200 the product would be 0.
        right = (positives / positives.sum() * (below + 0.5 * negatives)).sum()
        roc = right / negatives.sum()
    return float(roc), _pr_area(positives[::-1], negatives[::-1])


def _roc_bound(sums: np.ndarray) -> float:
    one, two = (float(row.sum()) for row in sums)
    return 0.5 * float((sums[0] / one * (sums[1] / two)).sum()) if one > 0 and two > 0 else np.nan


def _pr_bound(sums: np.ndarray) -> float:
    if not sums[0].sum() > 0:
        return np.nan
    positives, negatives = sums[:, ::-1]
    nothing = np.zeros(len(positives))
    first, then = (np.stack(pair, axis=1).reshape(-1) for pair in ((positives, nothing), (nothing, negatives)))
    best = _pr_area(first, then)
    worst = _pr_area(np.roll(first, 1), np.roll(then, -1))
    here = _pr_area(positives, negatives)
    return max(best - here, here - worst, 0.0)


def _pr_area(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Davis and Goadrich's interpolation, as Keras has it: false positives grow linearly with true ones between two points.

    Args:
        positives: weights from the highest score down.
        negatives: the same.
    """
    tp = np.concatenate([[0.0], np.cumsum(positives)])
    flagged = tp + np.concatenate([[0.0], np.cumsum(negatives)])
    found, more = np.diff(tp), np.diff(flagged)
    slope = np.divide(found, more, out=np.zeros_like(found), where=more > 0)
    intercept = tp[1:] - slope * flagged[1:]
    ratio = np.divide(flagged[1:], flagged[:-1], out=np.ones_like(more), where=flagged[:-1] > 0)
    return float((slope * (found + intercept * np.log(ratio))).sum() / tp[-1])
