"""Sums by group: dense, a few values a group, and sparse, many slots a group of which most are empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

__all__ = ["DenseSums", "SparseSums", "ratio", "summed_by_group", "summed_by_key"]

_PENDING = 1 << 20  # summed by key together: many small sums would each sort all that is there


def summed_by_group(sums: np.ndarray, groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns `sums` [k, g], grown where a group is new, with values [k, n] added to the sums of their rows' groups."""
    size = max(sums.shape[1], int(groups.max(initial=-1)) + 1)
    if size > sums.shape[1]:
        grown = np.zeros((len(sums), max(size, 2 * sums.shape[1])))
        grown[:, : sums.shape[1]] = sums
        sums = grown
    for row, part in zip(sums, values):
        row += np.bincount(groups, part, len(row))
    return sums


def summed_by_key(keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct keys, ascending, and the sums of `values` [k, n] over the rows of each."""
    distinct, inverse = np.unique(keys, return_inverse=True)
    return distinct, np.stack([np.bincount(inverse, row, len(distinct)) for row in values])


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Returns above / below; NaN where nothing is divided by nothing, and where there is nothing to divide by."""
    quotient: np.ndarray = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return quotient


class DenseSums:
    """Sums of `width` values of each row, by group."""

    width: int

    def __init__(self) -> None:
        self.sums = np.zeros((self.width, 0))

    def merge(self, other: DenseSums) -> None:
        """Adds the other's sums."""
        size = max(self.sums.shape[1], other.sums.shape[1])
        self.sums = self.padded(size) + other.padded(size)

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
        """Returns the sums."""
        return {"sums": self.sums}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Holds the sums of `arrays`."""
        self.sums = arrays["sums"].copy()

    def padded(self, size: int) -> np.ndarray:
        """Returns the sums [width, size] of the first groups."""
        have = self.sums[:, :size]
        return np.pad(have, ((0, 0), (0, size - have.shape[1])))

    def _empty(self) -> Self:
        return type(self)()

    def _with(self, sums: np.ndarray) -> Self:
        out = self._empty()
        out.sums = sums
        return out


class SparseSums:
    """Sums of `width` values of each row by group and by one of `slots` slots; empty slots take no memory."""

    width: int
    slots: int

    def __init__(self) -> None:
        self._keys: list[np.ndarray] = [np.zeros(0, np.int64)]  # group * slots + slot
        self._sums: list[np.ndarray] = [np.zeros((self.width, 0))]
        self._pending = 0

    def add(self, groups: np.ndarray, slots: np.ndarray, values: np.ndarray) -> None:
        """Adds values [width, n] to the sums of their rows' groups and slots."""
        self.append(*summed_by_key(groups * self.slots + slots, values))

    def merge(self, other: SparseSums) -> None:
        """Adds the other's sums."""
        self.append(*other.whole())

    def folded(self, size: int, parts: int) -> Self:
        """Returns the sums of groups of `parts` groups each."""
        keys, sums = self.whole()
        return self._with(keys // (self.slots * parts) * self.slots + keys % self.slots, sums)

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
            yield slots, places, keys[mine] // self.slots - segment * parts, sums[:, mine]

    def regrouped(self, mapping: np.ndarray, parts: int) -> Self:
        """Returns the sums by other numbers of groups."""
        keys, sums = self.whole()
        groups: np.ndarray = keys // self.slots
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
        """Returns the keys, ascending, and their sums [width, n]."""
        if len(self._keys) > 1:
            keys, sums = summed_by_key(np.concatenate(self._keys), np.concatenate(self._sums, axis=1))
            self._keys, self._sums, self._pending = [keys], [sums], 0
        return self._keys[0], self._sums[0]

    def append(self, keys: np.ndarray, sums: np.ndarray) -> None:
        """Adds sums [width, n] of keys: group * slots + slot."""
        self._keys.append(keys)
        self._sums.append(sums)
        self._pending += len(keys)
        if self._pending > _PENDING:
            self.whole()

    def _empty(self) -> Self:
        return type(self)()

    def _with(self, keys: np.ndarray, sums: np.ndarray) -> Self:
        out = self._empty()
        out.append(*summed_by_key(keys, sums))
        return out
