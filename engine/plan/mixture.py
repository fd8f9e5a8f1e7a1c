"""Several data sets in one feed's order, in fixed proportions: which source each slot of each global batch takes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from engine.core.errors import ConfigError

__all__ = ["MixSchedule"]

_MAX_PERIOD = 256  # batches after which the schedule repeats, at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixSchedule:
    """The sources of every slot of every global batch: deterministic, in closed form, without state.

    The schedule repeats after `period` batches. Over a period the records of each source are its share of the whole,
    exactly where the weights allow it within 256 batches, else to the nearest record (largest remainder). Within the
    period they are spread evenly: any prefix is within one record and the number of sources of its share.

    Args:
        weights: share of each source; any positive numbers, their sum is taken as the whole.
        global_batch_size: slots in a global batch.

    Raises:
        ConfigError: no source, or a weight that is not a positive number, or one too small to get a record.
    """

    weights: tuple[float, ...]
    global_batch_size: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(self.weights))
        if not self.weights:
            raise ConfigError("a mixture needs at least one source")
        for weight in self.weights:
            if isinstance(weight, bool) or not isinstance(weight, int | float | Fraction) or not 0 < weight < math.inf:
                raise ConfigError(f"weight {weight!r}: give a number above 0")
        if not isinstance(self.global_batch_size, int) or self.global_batch_size < 1:
            raise ConfigError(f"global_batch_size is {self.global_batch_size!r}: give an integer >= 1")
        # Floats such as 0.7 stand for the fraction that was meant, not for their binary expansion.
        exact = [Fraction(w).limit_denominator(1_000_000) for w in self.weights]
        whole = sum(exact)
        if min(exact) == 0:
            raise ConfigError(f"weight {min(self.weights)!r} is too small beside the others: leave that source out")
        shares = [w / whole for w in exact]
        period = min(_MAX_PERIOD, math.lcm(*((s * self.global_batch_size).denominator for s in shares)))
        counts = _largest_remainder(shares, period * self.global_batch_size)
        if min(counts) == 0:
            at = counts.index(0)
            raise ConfigError(
                f"weight {self.weights[at]!r} gives source {at} less than one record in {period} batches of "
                f"{self.global_batch_size}: raise the weight or the batch size, or leave the source out"
            )
        object.__setattr__(self, "_period", period)
        object.__setattr__(self, "_counts", np.array(counts, np.int64))
        object.__setattr__(self, "_sources", _spread(counts))
        taken: np.ndarray = np.zeros((period * self.global_batch_size + 1, len(counts)), np.int64)
        np.cumsum(self._sources[:, None] == np.arange(len(counts)), axis=0, out=taken[1:])  # type: ignore[attr-defined]
        object.__setattr__(self, "_taken", taken)

    @property
    def period(self) -> int:
        """Batches after which the schedule repeats."""
        return int(self._period)  # type: ignore[attr-defined]

    @property
    def period_counts(self) -> np.ndarray:
        """Records of each source in a period, int64 [num_sources]."""
        counts: np.ndarray = self._counts  # type: ignore[attr-defined]
        return counts

    def sources(self, start: int, stop: int) -> np.ndarray:
        """Returns the source of the slots start..stop-1, counted from the first batch's first: int64 [stop - start]."""
        table = self._sources  # type: ignore[attr-defined]
        found: np.ndarray = table[np.arange(start, stop) % len(table)]
        return found

    def taken(self, slot: int) -> np.ndarray:
        """Returns how many records of each source precede a slot, int64 [num_sources]."""
        table = self._taken  # type: ignore[attr-defined]
        periods, rest = divmod(slot, len(table) - 1)
        found: np.ndarray = periods * self.period_counts + table[rest]
        return found


def _largest_remainder(shares: Sequence[Fraction], total: int) -> list[int]:
    """Returns whole numbers that add up to `total`, each its share rounded down or up (Hamilton's method)."""
    exact = [share * total for share in shares]
    counts = [math.floor(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def _spread(counts: Sequence[int]) -> np.ndarray:
    """Returns source numbers, source i counts[i] times, each source at even distances: int64 [sum(counts)]."""
    sources: np.ndarray = np.repeat(np.arange(len(counts)), counts)
    places = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    return sources[np.lexsort((sources, places))]
