"""The order of an epoch: which record is at any position, found without walking there.

Blocks are read whole, so blocks are what is permuted; a second permutation mixes the records of a window of consecutive
permuted blocks. Blocks differ in size, so the place where a block begins is a sum over the blocks before it. To have
that sum without adding up a million blocks an epoch, blocks are first dealt into bins of about sqrt(num_blocks) (once a
seed; the sums of the bins are kept). An epoch permutes the bins, and the blocks inside each bin: a place is found by two
sums over sqrt(num_blocks) numbers. Up to 4,096 blocks there is one bin, and the order is one Feistel permutation.

Price of the bins: above 4,096 blocks, blocks dealt into one bin stay within the same bin in all epochs of a seed; where
the bin is and how its blocks are ordered changes every epoch.
"""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

import numpy as np

from engine.plan.feistel import Feistel, derive_key

__all__ = ["SequentialOrder", "ShuffledOrder", "Window"]

_ONE_BIN = 4096
_DEAL, _BINS, _BLOCKS, _RECORDS = 1, 2, 3, 4  # separate the keys of the four permutations
_KEPT_BINS = 64
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """Consecutive blocks of an epoch's order whose records are shuffled together.

    Attributes:
        epoch: the epoch it belongs to.
        start: place of its first record in the epoch's order.
        blocks: int64 [w], block numbers in permuted order.
        offsets: int64 [w + 1], where each block's records begin when the blocks are laid end to end.
        first_records: int64 [w], global record id of each block's first record.
        key: key of the shuffle inside, or None for the blocks' own order.
    """

    epoch: int
    start: int
    blocks: np.ndarray
    offsets: np.ndarray
    first_records: np.ndarray
    key: int | None

    @property
    def num_records(self) -> int:
        return int(self.offsets[-1])

    @property
    def stop(self) -> int:
        return self.start + self.num_records

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Returns the rows at positions start..stop-1 of the epoch's order.

        Args:
            start, stop: places, self.start <= start <= stop <= self.stop.

        Returns:
            int64 [stop - start]: row numbers in the window's blocks laid end to end.
        """
        first, last = start - self.start, stop - self.start
        if self.key is None:
            return np.arange(first, last, dtype=np.int64)
        return Feistel(self.num_records, self.key).range(first, last)

    def record_ids(self, rows: np.ndarray) -> np.ndarray:
        """Returns the global record ids of rows of the window, int64 [n]."""
        block = np.searchsorted(self.offsets, rows, side="right") - 1
        ids: np.ndarray = self.first_records[block] + rows - self.offsets[block]
        return ids


class SequentialOrder:
    """Record i is at position i; a window is one block.

    Args:
        first_records: int64 [num_blocks + 1], prefix sums of the blocks' record counts.
    """

    def __init__(self, first_records: np.ndarray) -> None:
        self._first = first_records

    def window_at(self, epoch: int, place: int) -> Window:
        """Returns the window in which a place of the epoch's order lies."""
        block = int(np.searchsorted(self._first, place, side="right")) - 1
        first, stop = int(self._first[block]), int(self._first[block + 1])
        return Window(
            epoch=epoch,
            start=first,
            blocks=np.array([block], np.int64),
            offsets=np.array([0, stop - first], np.int64),
            first_records=np.array([first], np.int64),
            key=None,
        )


class ShuffledOrder:
    """Blocks permuted by (seed, epoch), records shuffled inside windows of blocks.

    Args:
        first_records: int64 [num_blocks + 1], prefix sums of the blocks' record counts.
        seed: any integer.
        window_blocks: blocks in a window, >= 1.
    """

    def __init__(self, first_records: np.ndarray, seed: int, window_blocks: int) -> None:
        self._first, self._seed, self._window_blocks = first_records, seed, window_blocks
        self._num_blocks = len(first_records) - 1
        self._bin_blocks = self._num_blocks
        if self._num_blocks > _ONE_BIN:
            per_bin = math.isqrt(self._num_blocks - 1) + 1
            self._bin_blocks = -(-per_bin // window_blocks) * window_blocks
        self._deal = Feistel(self._num_blocks, derive_key(seed, _DEAL))
        self._num_bins = -(-self._num_blocks // self._bin_blocks)
        self._bin_records = self._sum_bins()
        self._epochs: OrderedDict[Hashable, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._bins: OrderedDict[Hashable, tuple[np.ndarray, np.ndarray]] = OrderedDict()

    def _sum_bins(self) -> np.ndarray:
        if self._num_bins == 1:
            return np.array([self._first[-1]], np.int64)
        sums: np.ndarray = np.empty(self._num_bins, np.int64)
        step = max(1, (1 << 18) // self._bin_blocks)
        for first in range(0, self._num_bins, step):
            start, stop = first * self._bin_blocks, min((first + step) * self._bin_blocks, self._num_blocks)
            records = self._records(self._deal.range(start, stop))
            sums[first : first + step] = np.add.reduceat(records, np.arange(0, stop - start, self._bin_blocks))
        return sums

    def _records(self, blocks: np.ndarray) -> np.ndarray:
        records: np.ndarray = self._first[blocks + 1] - self._first[blocks]
        return records

    def _bins_of(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        bins = Feistel(self._num_bins, derive_key(self._seed, _BINS, epoch)).range(0, self._num_bins)
        return bins, _prefix_sums(self._bin_records[bins])

    def _blocks_of(self, epoch: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        start = number * self._bin_blocks
        count = min(self._bin_blocks, self._num_blocks - start)
        blocks = Feistel(count, derive_key(self._seed, _BLOCKS, epoch, number)).range(0, count)
        if self._num_bins > 1:
            blocks = self._deal(blocks + start)
        return blocks, _prefix_sums(self._records(blocks))

    def window_at(self, epoch: int, place: int) -> Window:
        """Returns the window in which a place of the epoch's order lies."""
        bins, bin_starts = _kept(self._epochs, 4, epoch, lambda: self._bins_of(epoch))
        at = int(np.searchsorted(bin_starts, place, side="right")) - 1
        number, bin_start = int(bins[at]), int(bin_starts[at])
        blocks, starts = _kept(self._bins, _KEPT_BINS, (epoch, number), lambda: self._blocks_of(epoch, number))
        block_at = int(np.searchsorted(starts, place - bin_start, side="right")) - 1
        first = block_at // self._window_blocks * self._window_blocks
        members = blocks[first : first + self._window_blocks]
        return Window(
            epoch=epoch,
            start=bin_start + int(starts[first]),
            blocks=members,
            offsets=starts[first : first + len(members) + 1] - starts[first],
            first_records=self._first[members],
            key=derive_key(self._seed, _RECORDS, epoch, number, first),
        )


def _prefix_sums(counts: np.ndarray) -> np.ndarray:
    sums: np.ndarray = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=sums[1:])
    return sums


def _kept(cache: OrderedDict[Hashable, _T], limit: int, key: Hashable, make: Callable[[], _T]) -> _T:
    found = cache.get(key)
    if found is None:
        found = cache[key] = make()
        while len(cache) > limit:
            cache.pop(next(iter(cache)), None)
    return found
