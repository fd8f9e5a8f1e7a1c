"""What an evaluation adds up: the metrics of all rows and of each segment, of the model and of the baseline; mergeable."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import DataError
from engine.core.json_text import parse_json
from trainers.evaluation.passes.checked_rows import (
    check_rows,
    from_zero,
    predictions_of,
    query_numbers,
    refuse_mixed,
    refuse_rows,
    truth_of,
)
from trainers.evaluation.passes.head_sums import HeadSums
from trainers.evaluation.passes.labels import numbers_of
from trainers.evaluation.passes.plan import TallyPlan
from trainers.evaluation.segments.buckets import bucketed
from trainers.evaluation.segments.segments import SegmentCodes, encoded_values, one_a_row

__all__ = ["Measured", "Tally"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """A segment's metrics.

    Attributes:
        values: of its columns; None where it is what `keep` left over.
        rows: how many.
        metrics: by role, metric to value.
        replicates: by role, metric to its values without each part or over each sample.
        error_bounds: of the model, metric to how far the exact value may be away; those of exact values are left out.
        merged: number of segments in it.
    """

    values: tuple[Any, ...] | None
    rows: int
    metrics: Mapping[str, Mapping[str, float]]
    replicates: Mapping[str, Mapping[str, np.ndarray]]
    error_bounds: Mapping[str, float]
    merged: int = 1


class Tally:
    """Sums of all rows and of each segment.

    Args:
        plan: what is added up.
    """

    def __init__(self, plan: TallyPlan) -> None:
        self.plan, self.rows = plan, 0
        self._negatives: dict[str, set[str]] = {
            head.prefix: set() for head in plan.heads
        }  # what stands for them in labels
        kinds = ((), *plan.slices)
        self._codes = [SegmentCodes(columns) for columns in kinds]
        self._sums = [
            {
                (role, head.prefix): HeadSums(head, plan.intervals, columns == ())
                for role in plan.roles
                for head in plan.heads
            }
            for columns in kinds
        ]

    def add(
        self,
        batch: pa.RecordBatch,
        models: Mapping[str, Any],
        answers: Mapping[str, Mapping[str, np.ndarray]],
        ids: np.ndarray,
    ) -> None:
        """Adds the rows of a batch.

        Args:
            batch: raw rows.
            models: by role.
            answers: of each model to the rows, by output.
            ids: int64 [n], the number of each row in the data.
        """
        if batch.num_rows == 0:
            return
        plan = self.plan
        weights = np.ones(batch.num_rows)
        if plan.weight is not None:
            weights = numbers_of(batch.column(plan.weight), plan.weight, "weight").astype(np.float64)
            refuse_rows(
                ~(weights >= 0) | np.isinf(weights), f"weight {plan.weight!r} is below 0, infinite or no number"
            )
        queries = query_numbers(batch, plan.query)
        rows = []
        for head in plan.heads:
            given = {role: predictions_of(models[role], head, answers[role]) for role in plan.roles}
            labels = truth_of(batch, models["model"], head, given["model"])  # a run of the graph: once for all models
            labels = from_zero(head, labels, self._negatives[head.prefix])
            for role, predictions in given.items():
                check_rows(head, labels, predictions)
                rows.append(((role, head.prefix), labels, predictions))
        batch = self._with_segments(batch, models["model"])
        for codes, sums in zip(self._codes, self._sums):
            groups = codes.of(batch)
            for key, labels, predictions in rows:
                sums[key].add(groups, labels, predictions, weights, ids, queries)
        self.rows += batch.num_rows

    def merge(self, other: Tally) -> None:
        """Adds what the other, of the same plan, has added up.

        Raises:
            DataError: the labels of the one are -1 and 1, those of the other 0 and 1.
        """
        for prefix, seen in self._negatives.items():
            seen |= other._negatives[prefix]
            refuse_mixed(seen)
        for codes, theirs, mine, others in zip(self._codes, other._codes, self._sums, other._sums):
            mapping = codes.merge(theirs)
            for key, sums in mine.items():
                sums.merge(others[key], mapping)
        self.rows += other.rows

    def encode(self) -> bytes:
        """Returns all of it as bytes."""
        negatives = {prefix: sorted(seen) for prefix, seen in self._negatives.items()}
        header = {
            "rows": self.rows,
            "negatives": negatives,
            "kinds": [[[list(v) for v in codes.values], codes.rows] for codes in self._codes],
        }
        arrays = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
        for index, kind in enumerate(self._sums):
            for number, sums in enumerate(kind.values()):
                arrays.update({f"{index}/{number}/{name}": array for name, array in sums.arrays().items()})
        out = io.BytesIO()
        np.savez(out, **arrays)  # type: ignore[arg-type]
        return out.getvalue()

    @staticmethod
    def decode(plan: TallyPlan, blob: bytes | memoryview) -> Tally:
        """Returns what `encode` of a tally of the same plan wrote."""
        tally = Tally(plan)
        with np.load(io.BytesIO(blob), allow_pickle=False) as stored:
            arrays = dict(stored)
        header = parse_json(arrays.pop("header").tobytes())
        tally.rows = header["rows"]
        tally._negatives = {prefix: set(seen) for prefix, seen in header["negatives"].items()}
        for index, (values, rows) in enumerate(header["kinds"]):
            for each, count in zip(values, rows):
                tally._codes[index].add(tuple(each), count)
            for number, sums in enumerate(tally._sums[index].values()):
                start = f"{index}/{number}/"
                sums.load({name[len(start) :]: array for name, array in arrays.items() if name.startswith(start)})
        return tally

    def measured(self, keep: Callable[[tuple[str, ...], list[int]], np.ndarray]) -> list[list[Measured]]:
        """Returns the segments of each kind, the largest first; the first kind is of all rows.

        Args:
            keep: (columns, rows of each segment) to which segments are kept by themselves; the others become one.

        Raises:
            DataError: the segments of a kind do not add up to all rows.
        """
        out = []
        for codes, sums in zip(self._codes, self._sums):
            total = sum(codes.rows)
            if total != self.rows:
                columns = ", ".join(codes.columns)
                raise DataError(f"segments of {columns} have {total:,} rows together, the data has {self.rows:,}")
            out.append(self._kind(codes, sums, keep(codes.columns, codes.rows)))
        return out

    def curves(self, role: str) -> dict[str, Any]:
        """Returns the curves over all rows as JSON values, of the first output; {} where there is no such model."""
        found = self._sums[0].get((role, self.plan.heads[0].prefix))
        return found.curves() if found is not None else {}

    def _kind(self, codes: SegmentCodes, sums: Mapping[tuple[str, str], HeadSums], kept: np.ndarray) -> list[Measured]:
        size = int(kept.sum())
        mapping = np.where(kept, np.cumsum(kept) - 1, size)
        merged = len(kept) - size
        folded = {key: each.regrouped(mapping) for key, each in sums.items()} if merged else sums
        groups = size + bool(merged)
        rows = np.bincount(mapping, codes.rows, groups).astype(int).tolist()
        values: list[tuple[Any, ...] | None] = [v for v, is_kept in zip(codes.values, kept) if is_kept]
        values += [None] * (merged > 0)
        found = {key: each.results(groups) for key, each in folded.items()}
        outcomes = []
        for group in range(groups):
            metrics: dict[str, dict[str, float]] = {role: {} for role in self.plan.roles}
            replicates: dict[str, dict[str, np.ndarray]] = {role: {} for role in self.plan.roles}
            error_bounds: dict[str, float] = {}
            for (role, prefix), (by_name, parts, bounds) in found.items():
                metrics[role].update({f"{prefix}{name}": float(v[group]) for name, v in by_name.items()})
                replicates[role].update({f"{prefix}{name}": v[group] for name, v in parts.items()})
                if role == "model":
                    error_bounds.update(
                        {f"{prefix}{name}": float(v[group]) for name, v in bounds.items() if v[group] > 0}
                    )
            for role in self.plan.roles:
                metrics[role]["example_count"] = float(rows[group])
            outcomes.append(
                Measured(
                    values=values[group],
                    rows=rows[group],
                    metrics=metrics,
                    replicates=replicates,
                    error_bounds=error_bounds,
                    merged=1 if values[group] is not None else merged,
                )
            )
        return sorted(outcomes, key=lambda each: (each.values is None, -each.rows, str(each.values)))

    def _with_segments(self, batch: pa.RecordBatch, model: Any) -> pa.RecordBatch:
        """The batch with computed features, and buckets for numbers, in the columns that segments are made by."""
        plan = self.plan
        needed = list(dict.fromkeys(name for columns in plan.slices for name in columns))
        computed = model.transformed(batch, plan.computed) if plan.computed else {}
        arrays = []
        for name in needed:
            column = one_a_row(computed[name], name) if name in computed else batch.column(name)
            if name in plan.buckets:
                arrays.append(bucketed(column, name, plan.buckets[name]))
            else:  # hashed here, once for all kinds of segments that have the column
                arrays.append(encoded_values(column, name))
        if not needed:
            return batch
        return pa.RecordBatch.from_arrays(arrays, needed)
