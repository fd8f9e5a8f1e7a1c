"""Metrics of rankings: how high the model puts the relevant rows of each query.

The rows of a query may lie anywhere in the data, so each row is kept, 40 bytes of it, until the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainers.evaluation.accumulators.grouped_sums import ratio
from trainers.evaluation.accumulators.sampling import PARTS, Intervals, part_of, poisson_counts

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

__all__ = ["RankedRows"]

_FIELDS = ("groups", "queries", "labels", "predictions", "weights")


class RankedRows:
    """Rows by group and query; a metric of a group is the mean of its queries, by the weight of each one's first row.

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
        """Returns float64 [size] for each metric; NaN for a group none of whose queries has a relevant row."""
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
        stops = [*starts[1:].tolist(), len(groups)]
        values = {name: np.full(len(starts), np.nan) for name in self.names}
        for index, (start, stop) in enumerate(zip(starts.tolist(), stops)):
            for name, value in _of_query(self.names, gains[start:stop], scores[start:stop]).items():
                values[name][index] = value
        return groups[starts], queries[starts], weights[starts], values


def _means(groups: np.ndarray, weights: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    known = ~np.isnan(values)
    groups, weights, values = groups[known], weights[known], values[known]
    return ratio(np.bincount(groups, weights * values, size), np.bincount(groups, weights, size))


def _of_query(names: Sequence[str], gains: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Values of a query's rows by descending score; none where no row is relevant: nothing could be found there.

    Rows of equal scores have no order: NDCG and what is found among the first k are means over all orders, and the other two
    take each row for the last of its score, as in scikit-learn. A model that says the same of all rows gains nothing by
    the order of the data.
    """
    relevant = gains > 0
    if not relevant.any():
        return {}
    _, first, tied = np.unique(-scores, return_inverse=True, return_index=True)
    counts = np.bincount(tied)
    last = (first + counts)[tied]  # rank of the last row of the same score, from 1
    found = np.cumsum(relevant)[last - 1]  # relevant rows down to there
    out: dict[str, float] = {}
    for name in names:
        kind, _, text = name.partition("_at_")
        k = int(text) if text else len(gains)
        if kind == "mrr":
            out[name] = float(1 / last[relevant].min())
        elif kind == "map":
            out[name] = float((found / last)[relevant].mean())
        elif kind == "ndcg":
            discount = 1 / np.log2(np.arange(2, len(gains) + 2))
            discount[k:] = 0
            by_score = np.bincount(tied, discount) / counts
            best = np.sort(gains)[::-1] @ discount
            out[name] = float((by_score[tied] @ gains) / best)
        else:
            inside = (
                np.bincount(tied, np.arange(len(gains)) < k) / counts
            )  # how much of each score is among the first k
            hits = float(inside[tied] @ relevant)
            out[name] = hits / (k if kind == "precision" else float(relevant.sum()))
    return out
