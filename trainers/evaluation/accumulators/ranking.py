"""Metrics of rankings: how high the model puts the relevant rows of each query.

The rows of a query may lie anywhere in the data, so each row is kept, 40 bytes of it, until the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.core.errors import DataError
from trainers.evaluation.accumulators.grouped_sums import ratio
from trainers.evaluation.accumulators.sampling import PARTS, Intervals, part_of, poisson_counts

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

__all__ = ["RankedRows"]

_SAME = 1e-5  # part by which weights may differ that are meant to be one: those of float32 do, as TFMA allows
_FIELDS = ("groups", "queries", "labels", "predictions", "weights")


class RankedRows:
    """Rows by group and query; a metric of a group is the mean of its queries, by the weight that all rows of one have.

    Args:
        names: results wanted: "ndcg", "ndcg_at_10", "mrr", "map", "precision_at_5", "recall_at_5".
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.rows: list[dict[str, np.ndarray]] = []

    def update(
        self,
        groups: np.ndarray,
        queries: np.ndarray,
        labels: np.ndarray,
        predictions: np.ndarray,
        weights: np.ndarray,
    ) -> None:
        """Adds rows: queries int64 [n], labels the gain of each row, above 0 where it is relevant."""
        self.rows.append(dict(zip(_FIELDS, (groups, queries, labels, predictions, weights))))

    def merge(self, other: RankedRows) -> None:
        """Adds the other's rows."""
        self.rows += other.rows

    def regrouped(self, mapping: np.ndarray, parts: int) -> Self:
        """Returns the rows by other numbers of groups; these groups have no parts."""
        out = type(self)(self.names)
        out.rows = [{**each, "groups": mapping[each["groups"]]} for each in self.rows]
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the rows."""
        kinds = {"groups": np.int64, "queries": np.int64}
        return {
            name: np.concatenate([np.zeros(0, kinds.get(name, np.float64)), *(each[name] for each in self.rows)])
            for name in _FIELDS
        }

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Holds the rows of `arrays`."""
        self.rows = [{name: arrays[name] for name in _FIELDS}]

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns float64 [size] for each metric; NaN for a group none of whose queries has a relevant row.

        Raises:
            DataError: rows of a query have different weights.
        """
        groups, _, weights, values = self._queries()
        return {name: _means(groups, weights, value, size) for name, value in values.items()}

    def replicates(self, size: int, intervals: Intervals) -> dict[str, np.ndarray]:
        """Returns [size, PARTS] for each metric: a query is in one part, or as often in a sample, as a whole."""
        groups, queries, weights, values = self._queries()
        out = {name: np.zeros((size, PARTS)) for name in values}
        parts = part_of(queries)
        for part in range(PARTS):
            jackknife = intervals is Intervals.JACKKNIFE
            used = weights * ((parts != part) if jackknife else poisson_counts(queries, part))
            for name, value in values.items():
                out[name][:, part] = _means(groups, used, value, size)
        return out

    def _queries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Returns group, query and weight of each query of each group, and each metric's value there."""
        rows = self.arrays()
        order = np.lexsort((-rows["predictions"], rows["queries"], rows["groups"]))
        groups, queries, gains, scores, weights = (
            rows[name][order] for name in ("groups", "queries", "labels", "predictions", "weights")
        )
        new = np.ones(len(groups), bool)
        new[1:] = (groups[1:] != groups[:-1]) | (queries[1:] != queries[:-1])
        starts = np.flatnonzero(new)
        if len(starts) > len(np.unique(groups[starts])):  # the weight of a group's only query has no effect
            _refuse_mixed_weights(weights, starts)
        values = _of_queries(self.names, starts, gains, scores)
        return groups[starts], queries[starts], weights[starts], values


def _refuse_mixed_weights(weights: np.ndarray, starts: np.ndarray) -> None:
    """One row's weight for all would let the model's order, or the data's, decide what a query counts; TFMA refuses them, too."""
    low, high = np.minimum.reduceat(weights, starts), np.maximum.reduceat(weights, starts)
    differ = np.flatnonzero(high - low > _SAME * high)
    if len(differ):
        first = differ[0]
        raise DataError(
            f"{len(differ):,} of {len(starts):,} queries have rows of different weights, one of them from {low[first]:g} to "
            f"{high[first]:g}; a metric of rankings counts a query as a whole: give all rows of a query one weight, or evaluate "
            "rankings without weight"
        )


def _means(groups: np.ndarray, weights: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    known = ~np.isnan(values)
    groups, weights, values = groups[known], weights[known], values[known]
    return ratio(np.bincount(groups, weights * values, size), np.bincount(groups, weights, size))


def _of_queries(
    names: Sequence[str], starts: np.ndarray, gains: np.ndarray, scores: np.ndarray
) -> dict[str, np.ndarray]:
    """Values of each query, whose rows begin at `starts` and descend by score; NaN where no row is relevant: nothing could be found.

    Rows of equal scores have no order: NDCG and what is found among the first k are means over all orders, and the other two
    take each row for the last of its score, as in scikit-learn. A model that says the same of all rows gains nothing by
    the order of the data.
    """
    number, rows = len(starts), np.arange(len(gains))
    query = np.repeat(np.arange(number), np.diff(starts, append=len(gains)))
    place = rows - starts[query]  # of each row in its query, from 0
    first = place == 0  # of each score
    first[1:] |= scores[1:] != scores[:-1]
    tied = np.cumsum(first) - 1
    counts = np.bincount(tied)
    final = (np.flatnonzero(first) + counts - 1)[tied]  # the last row of the same score
    last = place[final] + 1  # its rank, from 1
    relevant = gains > 0
    found = np.cumsum(relevant)
    found = found[final] - (found - relevant)[starts][query]  # relevant rows of the query down to that rank

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(query, values, number)

    def over_ties(values: np.ndarray) -> np.ndarray:
        means: np.ndarray = (np.bincount(tied, values) / counts)[tied]
        return means

    there = total(relevant)
    known = there > 0
    out: dict[str, np.ndarray] = {}
    for name in names:
        kind, _, text = name.partition("_at_")
        inside = place < (int(text) if text else len(rows))
        below = there
        if kind == "mrr":
            above = 1 / np.minimum.reduceat(np.where(relevant, last, len(rows) + 1), starts)
            below = np.ones(number)
        elif kind == "map":
            above = total(relevant * found / last)
        elif kind == "ndcg":
            discount = inside / np.log2(place + 2)
            above = total(over_ties(discount) * gains)
            below = total(discount * gains[np.lexsort((-gains, query))])
        else:  # how much of each score is among the first k
            above = total(over_ties(inside) * relevant)
            below = np.full(number, float(text)) if kind == "precision" else there
        out[name] = np.divide(above, below, out=np.full(number, np.nan), where=known)
    return out
