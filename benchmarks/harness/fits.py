"""Curves through measured points: fixed cost and slope of growth, Amdahl's law and the universal scalability law.

What a curve says beyond the points is a prediction, and is called one in results.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["Scaling", "line", "scaling"]


def line(sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Returns (fixed, slope) of seconds = fixed + slope × size, least squares of relative deviations, neither below 0."""
    x, y = np.asarray(sizes, float), np.asarray(seconds, float)
    design = np.stack([1 / y, x / y], axis=1)
    fixed, slope = np.linalg.lstsq(design, np.ones_like(y), rcond=None)[0]
    if fixed < 0:
        fixed, slope = 0.0, float(np.sum(x / y) / np.sum((x / y) ** 2))
    elif slope < 0:
        fixed, slope = float(np.sum(1 / y) / np.sum(1 / y**2)), 0.0
    return float(fixed), float(slope)


class Scaling:
    """Rates by number of workers: rate(n) = one × n / (1 + contention × (n - 1) + coherence × n × (n - 1)).

    Args:
        one: rate of one worker.
        contention: share that cannot be done side by side; with coherence 0 this is Amdahl's law.
        coherence: what every pair of workers costs each other.
    """

    def __init__(self, one: float, contention: float, coherence: float) -> None:
        self.one, self.contention, self.coherence = one, contention, coherence

    def predicted(self, workers: float) -> float:
        """Returns the rate that the curve predicts for a number of workers."""
        others = workers - 1
        return self.one * workers / (1 + self.contention * others + self.coherence * workers * others)


def scaling(workers: Sequence[int], rates: Sequence[float], coherence: bool = True) -> Scaling:
    """Returns the curve through rates measured with 1 worker and more; least squares of (n / speed-up - 1), neither term below 0.

    Args:
        workers: of each rate; the first is 1.
        rates: as measured.
        coherence: False for Amdahl's law.
    """
    n, speedup = np.asarray(workers, float), np.asarray(rates, float) / rates[0]
    lost, others = n / speedup - 1, n - 1
    columns = [others, n * others] if coherence else [others]
    found = _positive(np.stack(columns, axis=1), lost)
    return Scaling(rates[0], float(found[0]), float(found[1]) if coherence else 0.0)


def _positive(design: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least squares with no coefficient below 0, for at most two columns: the best of the few possible supports."""
    best, error = np.zeros(design.shape[1]), float(target @ target)
    for support in ([0], [1], [0, 1])[: 1 if design.shape[1] == 1 else 3]:
        part = np.linalg.lstsq(design[:, support], target, rcond=None)[0]
        left = float(np.sum((design[:, support] @ part - target) ** 2))
        if (part >= 0).all() and left < error - 1e-15:
            best, error = np.zeros(design.shape[1]), left
            best[support] = part
    return best
