"""Sums by group: dense, a few values a group, and sparse, many slots a group of which most are empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.core.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

__all__ = ["DenseSums", "SparseSums", "grown", "ratio", "summed_by_group", "summed_by_key"]

MOST_BYTES = 4 << 30  # of the sums of one kind: 1,440 bytes a segment for a probability with intervals by the jackknife
_PENDING = 1 << 20  # summed by key together: many small sums would each sort all that is there


def summed_by_group(sums: np.ndarray, groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns `sums` [k, g], grown where a group is new, with values [k, n] added to the sums of their rows' groups.

    Raises:
        ConfigError: there are so many groups that the sums would not fit into memory.
    """
    sums = grown(sums, int(groups.max(initial=-1)) + 1)
    for row, part in zip(sums, values):
        row += np.bincount(groups, part, len(row))
    return sums


def grown(sums: np.ndarray, size: int) -> np.ndarray:
    """Returns `sums` [k, g] with room for so many groups; more than asked for, so that not each new group copies all.

    Raises:
        ConfigError: there are so many groups that the sums would not fit into memory.
    """
    have = sums.shape[1]
    if size <= have:
        return sums
    needed = len(sums) * size * sums.itemsize
    if needed > MOST_BYTES:
        raise ConfigError(
            f"slices: sums of so many segments take {needed / 2**30:.1f} GiB, at most {MOST_BYTES / 2**30:g} are taken; give numeric "
            "columns buckets, leave out what is different in nearly every row, name fewer metrics, or give intervals = 'none'"
        )
    larger = np.zeros((len(sums), max(size, have + have // 2)))
    larger[:, :have] = sums
    return larger


def summed_by_key(keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct keys, ascending, and the sums of `values` [k, n] over the rows of each.

    The sums are of the narrowest type that holds them exactly: of rows without weights they are counts, mostly of one byte, and of
    many samples all else that is done is to move them.
    """
    distinct, inverse = np.unique(keys, return_inverse=True)
    sums = np.zeros((len(values), len(distinct)), np.uint8)
    for place, row in enumerate(values):
        found = np.bincount(inverse, row, len(distinct))
        sums = sums.astype(np.promote_types(sums.dtype, _narrowest(found)), copy=False)
        sums[place] = found
    return distinct, sums


def _narrowest(values: np.ndarray) -> np.dtype[Any]:
    """uint8 or uint16 where it holds all values exactly, else float64."""
    top = values.max(initial=0)
    if top > np.iinfo(np.uint16).max or values.min(initial=0) < 0 or (values != np.rint(values)).any():
        return np.dtype(np.float64)
    return np.min_scalar_type(int(top))


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Returns above / below; NaN where nothing is divided by nothing, and where there is nothing to divide by."""
    quotient: np.ndarray = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return quotient


class DenseSums:
    """Sums of `width` values of each row, by group."""

    width: int

    def __init__(self) -> None:
        self.sums = np.zeros((self.width, 0))

    def row_values(self, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Returns the values [width, n] of rows, each in proportion to the row's weight."""
        raise NotImplementedError

    def update(self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows."""
        self.sums = summed_by_group(self.sums, groups, self.row_values(labels, predictions, weights))

    def update_samples(
        self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, counts: np.ndarray
    ) -> None:
        """Adds rows to samples: counts [samples, n] say how often each is in each of them."""
        values = self.row_values(labels, predictions, weights)
        for sample, times in enumerate(counts):
            self.sums = summed_by_group(self.sums, groups * len(counts) + sample, values * times)

    def merge(self, other: DenseSums) -> None:
        """Adds the other's sums."""
        size = max(self.sums.shape[1], other.sums.shape[1])
        self.sums = self.padded(size) + other.padded(size)

    def add_groups(self, other: DenseSums, mapping: np.ndarray, parts: int) -> None:
        """Adds the other's sums by other numbers of groups, in place: a copy of all would be most of the memory.

        Args:
            other: sums of segments that are `parts` groups each.
            mapping: int64, the segment here of each of the other's, no two the same.
            parts: groups of a segment.
        """
        self.sums = grown(self.sums, (int(mapping.max(initial=-1)) + 1) * parts)
        groups = (mapping[:, None] * parts + np.arange(parts)).reshape(-1)
        for mine, theirs in zip(self.sums, other.padded(len(groups))):
            mine[groups] += theirs

    def folded(self, size: int, parts: int) -> Self:
        """Returns the sums of groups of `parts` groups each."""
        return self._with(self.padded(size * parts).reshape(self.width, size, parts).sum(axis=2))

    def without(self, size: int, parts: int) -> Self:
        """Returns for each group here what its whole has without it."""
        split = self.padded(size * parts).reshape(self.width, size, parts)
        return self._with((split.sum(axis=2, keepdims=True) - split).reshape(self.width, -1))

    def regrouped(self, mapping: np.ndarray, parts: int) -> Self:
        """Returns the sums by other numbers of groups."""
        old = self.padded(len(mapping) * parts).reshape(self.width, len(mapping), parts)
        new = np.zeros((int(mapping.max(initial=-1)) + 1, self.width, parts))
        np.add.at(new, mapping, old.transpose(1, 0, 2))
        return self._with(new.transpose(1, 0, 2).reshape(self.width, -1))

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the sums; of many groups most of which are empty those that are not, and which they are."""
        used = np.flatnonzero(self.sums.any(axis=0))
        if 2 * len(used) > self.sums.shape[1]:
            return {"sums": self.sums[:, : int(used[-1]) + 1]}
        return {"sums": self.sums[:, used], "groups": used}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Holds the sums of `arrays`."""
        if "groups" not in arrays:
            self.sums = arrays["sums"].copy()
            return
        groups = arrays["groups"]
        self.sums = np.zeros((self.width, int(groups.max(initial=-1)) + 1))
        self.sums[:, groups] = arrays["sums"]

    def padded(self, size: int) -> np.ndarray:
        """Returns the sums [width, size] of the first groups, to be read."""
        have = self.sums[:, :size]
        return have if have.shape[1] == size else np.pad(have, ((0, 0), (0, size - have.shape[1])))

    def _empty(self) -> Self:
        return type(self)()

    def _with(self, sums: np.ndarray) -> Self:
        out = self._empty()
        out.sums = sums
        return out


class SparseSums:
    """Sums of `width` values of each row by group and by one of `slots` slots; empty slots take no memory.

    Args:
        samples: bootstrap samples of each group, whose sums lie side by side under one key: a row is in most of them, and keys
            for each would be sorted as many times over.
    """

    width: int
    slots: int

    def __init__(self, samples: int = 1) -> None:
        self._samples = samples
        self._keys: list[np.ndarray] = [np.zeros(0, np.int64)]  # group * slots + slot
        self._sums: list[np.ndarray] = [np.zeros((self.width * samples, 0), np.uint8)]
        self._pending = 0

    def slot_values(
        self, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the slot [n] of each row, and its values [width, n], in proportion to its weight."""
        raise NotImplementedError

    def update(self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows."""
        self.add(groups, *self.slot_values(labels, predictions, weights))

    def update_samples(
        self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, counts: np.ndarray
    ) -> None:
        """Adds rows to samples: counts [samples, n] say how often each is in each of them."""
        self.add_samples(groups, *self.slot_values(labels, predictions, weights), counts)

    def add(self, groups: np.ndarray, slots: np.ndarray, values: np.ndarray) -> None:
        """Adds values [width, n] to the sums of their rows' groups and slots."""
        self.append(*summed_by_key(groups * self.slots + slots, values))

    def add_samples(self, groups: np.ndarray, slots: np.ndarray, values: np.ndarray, counts: np.ndarray) -> None:
        """Adds values [width, n] to the sums of their rows' samples, groups and slots; counts are [samples, n]."""
        self.add(groups, slots, (values[:, None, :] * counts).reshape(len(values) * len(counts), -1))

    def merge(self, other: SparseSums) -> None:
        """Adds the other's sums."""
        self.append(*other.whole())

    def folded(self, size: int, parts: int) -> Self:
        """Returns the sums of groups of `parts` groups each."""
        keys, sums = self.whole()
        return self._with(keys // (self.slots * parts) * self.slots + keys % self.slots, sums)

    def samples_of(self, size: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yields (group, slots, sums) of each of `size` groups, which are samples of segments where there are samples.

        Slots are distinct and ascend; those of sums [width, n] that are all 0 are left out.
        """
        keys, sums = self.whole()
        starts = np.searchsorted(keys, np.arange(size // self._samples + 1) * self.slots)
        for group in range(size):
            segment, sample = divmod(group, self._samples)
            mine = slice(starts[segment], starts[segment + 1])
            slots, found = keys[mine] % self.slots, sums[sample :: self._samples, mine]
            there = found.any(axis=0)
            yield group, slots[there], found[:, there].astype(np.float64)

    def segments(self, size: int, parts: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Yields (slots, places, part, sums) of each of `size` segments that are `parts` groups each.

        Slots are the distinct ones, ascending; places [n] say which of them each of the sums [width, n] is of, `part` [n] of which
        part it is. Sums of one part lie together.
        """
        keys, sums = self.whole()
        starts = np.searchsorted(keys, np.arange(size + 1) * (self.slots * parts))
        for segment in range(size):
            mine = slice(starts[segment], starts[segment + 1])
            slots, places = np.unique(keys[mine] % self.slots, return_inverse=True)
            yield slots, places, keys[mine] // self.slots - segment * parts, sums[:, mine].astype(np.float64)

    def regrouped(self, mapping: np.ndarray, parts: int) -> Self:
        """Returns the sums by other numbers of groups."""
        keys, sums = self.whole()
        groups: np.ndarray = keys // self.slots
        parts //= self._samples  # samples have no keys of their own
        renamed = mapping[groups // parts] * parts + groups % parts
        return self._with(renamed * self.slots + keys % self.slots, sums)

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the keys and their sums."""
        keys, sums = self.whole()
        return {"keys": keys, "sums": sums}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Holds the sums of `arrays`."""
        self._keys, self._sums, self._pending = [arrays["keys"]], [arrays["sums"]], 0

    def whole(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the keys, ascending, and their sums [width, n], of the narrowest type that holds them."""
        if len(self._keys) > 1:
            keys, sums = summed_by_key(np.concatenate(self._keys), np.concatenate(self._sums, axis=1))
            self._keys, self._sums, self._pending = [keys], [sums], 0
        return self._keys[0], self._sums[0]

    def append(self, keys: np.ndarray, sums: np.ndarray) -> None:
        """Adds sums [width, n] of keys: group * slots + slot."""
        self._keys.append(keys)
        self._sums.append(sums)
        self._pending += len(keys)
        # Half of what is there, too: to sort all of it again after each million would cost the square of the rows.
        if self._pending > max(_PENDING // self._samples, len(self._keys[0]) // 2):
            self.whole()

    def _empty(self) -> Self:
        return type(self)()

    def _with(self, keys: np.ndarray, sums: np.ndarray) -> Self:
        out = self._empty()
        out.append(*summed_by_key(keys, sums))
        return out
