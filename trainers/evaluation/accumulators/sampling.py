"""Parts and samples of rows, for intervals: by the row's number alone, however the data are cut."""

from __future__ import annotations

import enum

import numpy as np

from engine.plan.feistel import mix

__all__ = ["DEGREES", "PARTS", "STUDENT_T", "Intervals", "half_width", "mixed", "part_of", "poisson_counts"]

PARTS = 20  # of the rows, for intervals: TFMA's number too
DEGREES = PARTS - 1
STUDENT_T = 2.093  # quantile of Student's t at 97.5 % and so many degrees of freedom


class Intervals(enum.Enum):
    """How intervals are estimated."""

    NONE = "none"
    JACKKNIFE = "jackknife"  # the rows in 20 parts, each metric without each part
    BOOTSTRAP = "bootstrap"  # each row counted 0, 1, 2, ... times in each of 20 samples


def half_width(replicates: np.ndarray, intervals: Intervals) -> np.ndarray:
    """Returns half of the 95 % interval of a metric, or of a difference of metrics.

    Source: B. Efron and C. Stein, "The Jackknife Estimate of Variance", 1981; Poisson bootstrap: N. Chamandy et al.,
    "Estimating Uncertainty for Massive Data Streams", 2012.

    Args:
        replicates: [..., PARTS], its values without each part, or over each sample.
        intervals: which of the two.
    """
    spread = replicates.std(axis=-1, ddof=1)
    # Samples that leave one part out differ by far less than samples drawn anew.
    width: np.ndarray = STUDENT_T * spread * ((PARTS - 1) / np.sqrt(PARTS) if intervals is Intervals.JACKKNIFE else 1.0)
    return width


def part_of(ids: np.ndarray) -> np.ndarray:
    """Returns the part of each row."""
    # Mixed: data that are sorted, or whose order has a period, must not put its periods into parts.
    return (mixed(ids, 0) % np.uint64(PARTS)).astype(np.int64)


def poisson_counts(ids: np.ndarray, sample: int) -> np.ndarray:
    """Returns how often each row is in a bootstrap sample: Poisson of mean 1, by the row's number alone.

    Args:
        ids: int64 [n].
        sample: number of the sample.
    """
    uniform = (mixed(ids, sample + 1) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.searchsorted(_POISSON, uniform, side="right").astype(np.float64)


def _cumulative() -> np.ndarray:
    terms = np.exp(-1.0) / np.cumprod([1.0, *range(1, 20)])
    return np.cumsum(terms)


_POISSON = _cumulative()


def mixed(ids: np.ndarray, salt: int) -> np.ndarray:
    """Returns a hash of each number: every bit of the result depends on every bit of the row's."""
    return mix(ids.astype(np.uint64) + np.uint64((0x9E3779B97F4A7C15 * (salt + 1)) % (1 << 64)))
