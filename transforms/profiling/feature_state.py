"""The state of one feature over some records: who has it, how many values, and what these are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.profiling.columns import FeatureColumn
from transforms.profiling.distinct import distinct
from transforms.profiling.distribution import Distribution
from transforms.profiling.numbers import NumberState
from transforms.profiling.texts import TextState, Tokens

__all__ = ["FeatureState"]

_NUMBERS = ("int", "float")


@dataclasses.dataclass
class FeatureState:
    """What is known of a feature.

    Attributes:
        kind: "int", "float", "bytes", "blob" (bytes of no text) or "category" (integers that are names, counted as such).
        present, missing: records with and without the feature.
        values: number of values.
        nulls_inside: nulls inside of lists, which are no values.
        lengths: how many values the records with the feature have.
        numbers, texts: of what kind the values are.
        weights: (of the records with it, of those without, of the values); zeros without weights.
    """

    kind: str
    lengths: Distribution
    numbers: NumberState | None
    texts: TextState | None
    present: int = 0
    missing: int = 0
    values: int = 0
    nulls_inside: int = 0
    weights: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @staticmethod
    def empty(kind: str, limit: int) -> FeatureState:
        """Returns a state of nothing.

        Args:
            kind: see `FeatureState`.
            limit: most distinct values that are kept.
        """
        if kind in _NUMBERS:
            return FeatureState(kind, Distribution(limit), NumberState(Distribution(limit)), None)
        return FeatureState(kind, Distribution(limit), None, TextState(Tokens(limit)))

    def add(self, column: FeatureColumn, rows: int, weights: np.ndarray | None) -> None:
        """Adds a batch.

        Args:
            column: the feature in it.
            rows: records of the batch.
            weights: float64 [rows], or None.
        """
        present = rows if column.present is None else int(np.count_nonzero(column.present))
        self.present += present
        self.missing += rows - present
        self.values += len(column.values)
        self.nulls_inside += column.nulls_inside
        mine = weights if weights is None or column.present is None else weights[column.present]
        per_value = mine
        if column.lengths is not None:
            self.lengths.add(distinct(pa.array(column.lengths), mine))
            per_value = None if mine is None else np.repeat(mine, column.lengths)
        elif present:
            self.lengths.add(distinct(pa.array(np.ones(present, np.int64)), mine))
        if weights is not None and mine is not None and per_value is not None:
            held = float(mine.sum())
            new = (held, float(weights.sum()) - held if present != rows else 0.0, float(per_value.sum()))
            self.weights = tuple(a + b for a, b in zip(self.weights, new))  # type: ignore[assignment]
        if self.numbers is not None:
            self.numbers.add(column.values, per_value)
        elif self.texts is not None:
            values = (
                column.values if self.kind != "category" else column.values.cast(pa.string()).cast(pa.large_binary())
            )
            self.texts.add(values, per_value, column.text or self.kind in ("category", "blob"))

    def merge(self, other: FeatureState) -> None:
        """Adds another state of the same feature."""
        for name in ("present", "missing", "values", "nulls_inside"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.weights = tuple(a + b for a, b in zip(self.weights, other.weights))  # type: ignore[assignment]
        self.lengths.merge(other.lengths)
        if self.numbers is not None and other.numbers is not None:
            self.numbers.merge(other.numbers)
        if self.texts is not None and other.texts is not None:
            self.texts.merge(other.texts)

    def value_counts(self) -> tuple[list[tuple[Any, int]], bool]:
        """Returns (each distinct value with its count, whether these are all with exact counts): no numbers where they were too many."""
        if self.numbers is not None:
            held = self.numbers.values
            held.settle()
            found = [("nan", self.numbers.nan)] if self.numbers.nan else []
            counts, exact = held.exact, not held.sketches
        else:
            assert self.texts is not None
            self.texts.tokens.settle()
            found, counts, exact = [], self.texts.tokens.counts, self.texts.tokens.exact
        if counts is not None:
            found += zip(counts.values.to_pylist(), counts.counts.tolist())
        return found, exact

    def encode(self, prefix: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Returns (arrays, JSON values)."""
        names = ("kind", "present", "missing", "values", "nulls_inside", "weights")
        held: Any = self.numbers if self.numbers is not None else self.texts
        arrays, inner = held.encode(f"{prefix}values/")
        found = {**arrays, **self.lengths.arrays(f"{prefix}lengths/")}
        return found, {**{name: getattr(self, name) for name in names}, "inner": inner}

    @staticmethod
    def decode(arrays: dict[str, np.ndarray], values: Mapping[str, Any], prefix: str, limit: int) -> FeatureState:
        """Returns the state that gave arrays and values."""
        kind, inner = values["kind"], values["inner"]
        numbers = NumberState.decode(arrays, inner, f"{prefix}values/", limit) if kind in _NUMBERS else None
        texts = TextState.decode(arrays, inner, f"{prefix}values/", limit) if kind not in _NUMBERS else None
        return FeatureState(
            kind,
            Distribution.of_arrays(arrays, f"{prefix}lengths/", limit),
            numbers,
            texts,
            **{name: values[name] for name in ("present", "missing", "values", "nulls_inside")},
            weights=tuple(values["weights"]),
        )
