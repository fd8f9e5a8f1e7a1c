"""How far groups are apart in the rates that Fairness Indicators compares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trainers.evaluation.metric_names import FAIRNESS_RATES

__all__ = ["LEAST_ROWS", "gaps"]

LEAST_ROWS = 100  # groups of fewer are not compared


def gaps(slices: Sequence[Any], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Returns for each kind of segments and each rate that was computed the lowest and the highest group, as JSON values.

    Args:
        slices: segments with `key`, `name`, `rows`, `metrics` and `merged`.
        metrics: names of all metrics computed.

    Returns:
        Dicts with columns, metric, lowest and highest (names of segments), lowest_value, highest_value, gap, and ratio of the lowest
        to the highest (None where that is 0); none for kinds with fewer than two groups of `LEAST_ROWS` rows.
    """
    rates = [name for name in metrics if name.rpartition("/")[2].partition("@")[0] in FAIRNESS_RATES]
    found = []
    for columns in dict.fromkeys(tuple(s.key) for s in slices):
        groups = [s for s in slices if tuple(s.key) == columns and s.rows >= LEAST_ROWS and not s.merged]
        for rate in rates:
            known = [(s.metrics[rate], s.name) for s in groups if math.isfinite(s.metrics.get(rate, math.nan))]
            if len(known) < 2:
                continue
            (low, lowest), (high, highest) = min(known), max(known)
            found.append(
                {
                    "columns": list(columns),
                    "metric": rate,
                    "lowest": lowest,
                    "lowest_value": low,
                    "highest": highest,
                    "highest_value": high,
                    "gap": high - low,
                    "ratio": low / high if high else None,
                }
            )
    return found
