"""The sums of one output of one model over the segments of one kind."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainers.evaluation.accumulators.metric_table import MetricTable
from trainers.evaluation.accumulators.sampling import Intervals
from trainers.evaluation.passes.curves import Curves
from trainers.evaluation.passes.plan import Head
from trainers.evaluation.tfma.kernels import MetricSet

__all__ = ["HeadSums"]

# States of TFMA have no form but a pickle, which is never read from elsewhere. `evaluate` lets them run on the local runner
# alone, so they wait here, in the process, while the rest travels as bytes; each is taken once.
_held: dict[int, Any] = {}
_tickets = itertools.count()


class HeadSums:
    """The sums of one kind of segments for one output of one model.

    Args:
        head: the output.
        intervals: how they are estimated.
        all_rows: the kind is of all rows, which have curves.
    """

    def __init__(self, head: Head, intervals: Intervals, all_rows: bool) -> None:
        self._head, self._intervals = head, intervals
        self._table = MetricTable(head.task, intervals, head.classes, head.names, histogram=all_rows)
        self._others = MetricSet(head.others) if head.others else None
        self._states: list[Any] = []
        self._curves = Curves(head.task, head.classes) if all_rows else None

    def add(
        self,
        groups: np.ndarray,
        labels: np.ndarray,
        predictions: np.ndarray,
        weights: np.ndarray,
        ids: np.ndarray,
        queries: np.ndarray | None,
    ) -> None:
        """Adds rows, as `MetricTable.update` takes them."""
        # Not float64 for all: a score of 0.3 in float32 would be above a threshold of 0.3, and one of 0.7 below.
        values = predictions if predictions.dtype.kind == "f" else predictions.astype(np.float64)
        self._table.update(groups, labels, values, weights, ids, queries)
        if self._curves is not None:
            self._curves.update(labels, values, weights)
        if self._others is not None:
            self._grow(int(groups.max(initial=-1)) + 1)
            for group in np.unique(groups).tolist():
                rows = np.flatnonzero(groups == group)
                state = self._states[group]
                self._others.update(state, labels[rows], predictions[rows], weights[rows].astype(np.float32))

    def merge(self, other: HeadSums, mapping: np.ndarray) -> None:
        """Adds the other's sums; `mapping` has the number here of each of its segments."""
        self._table.merge(other._table, mapping)
        if self._curves is not None and other._curves is not None:
            self._curves.merge(other._curves)
        if self._others is not None:
            self._grow(int(mapping.max(initial=-1)) + 1)
            for group, state in zip(mapping.tolist(), other._states):
                self._others.merge(self._states[group], state)

    def regrouped(self, mapping: np.ndarray) -> HeadSums:
        """Returns the sums by other numbers of segments, several of which may become one."""
        out = HeadSums(self._head, self._intervals, False)
        out._table, out._curves = self._table.regrouped(mapping), self._curves
        if self._others is not None:
            out._grow(int(mapping.max(initial=-1)) + 1)
            for group, state in zip(mapping.tolist(), self._states):
                self._others.merge(out._states[group], state)
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns all that is held, by name."""
        found = {f"table.{name}": array for name, array in self._table.arrays().items()}
        if self._curves is not None:
            found.update({f"curves.{name}": array for name, array in self._curves.arrays().items()})
        if self._others is not None:
            ticket = next(_tickets)
            _held[ticket] = self._states
            found["states"] = np.array(ticket)
        return found

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Holds what `arrays` of such sums returned."""
        self._table.load({n.removeprefix("table."): a for n, a in arrays.items() if n.startswith("table.")})
        if self._curves is not None:
            self._curves.load({n.removeprefix("curves."): a for n, a in arrays.items() if n.startswith("curves.")})
        if self._others is not None:
            self._states = _held.pop(int(arrays["states"]))

    def curves(self) -> dict[str, Any]:
        """Returns the curves as JSON values."""
        assert self._curves is not None  # kinds of all rows have them
        return self._curves.as_json(self._table.histogram(1))

    def results(self, size: int) -> tuple[dict[str, np.ndarray], ...]:
        """Returns values [size], replicates [size, parts], and how far exact values may be away [size], by metric."""
        own = self._table.results(size)
        metrics = {name: own[name] for name in self._head.names}
        if self._others is not None:
            found = [self._others.result(state) for state in self._states]
            for name in dict.fromkeys(name for each in found for name in each):
                metrics[name] = np.array([each.get(name, np.nan) for each in found])
        replicates = self._table.replicates(size)
        names = self._head.names
        bounds = {name: own[f"{name}_error_bound"] for name in names if f"{name}_error_bound" in own}
        return metrics, {name: replicates[name] for name in names if name in replicates}, bounds

    def _grow(self, size: int) -> None:
        assert self._others is not None
        while len(self._states) < size:
            self._states.append(self._others.create())
