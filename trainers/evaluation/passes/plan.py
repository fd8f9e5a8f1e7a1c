"""What an evaluation adds up; picklable, the same in each worker."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from trainers.evaluation.accumulators.sampling import Intervals
from trainers.evaluation.segments.buckets import Buckets

__all__ = ["Head", "TallyPlan", "class_codes"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """One output of the model with its label.

    Attributes:
        output: name of the output; None for the only one.
        label: a transformed feature of the model or a column.
        prefix: of its metrics' names, "OUTPUT/" where there are several.
        task: one of `trainers.evaluation.metrics.TASKS`.
        classes: number of answers a row; 2 for a probability.
        names: results of our own accumulators.
        others: metrics that TFMA computes row by row.
        vocabulary: names of the classes, where labels are text.
    """

    output: str | None
    label: str
    prefix: str = ""
    task: str
    classes: int
    names: tuple[str, ...]
    others: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] | None = None

    @functools.cached_property
    def codes(self) -> Mapping[str, int] | None:
        """Name of a class to its number; None where labels are numbers. Made once: there may be a million."""
        return class_codes(self.vocabulary)

    def __getstate__(self) -> dict[str, object]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # workers make their own


def class_codes(vocabulary: Sequence[str] | None) -> Mapping[str, int] | None:
    """Returns name of a class to its number, or None."""
    return None if vocabulary is None else {name: index for index, name in enumerate(vocabulary)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TallyPlan:
    """What is added up; picklable.

    Attributes:
        heads: outputs.
        slices: columns of each kind of segment.
        buckets: edges of numeric columns.
        computed: transformed features that segments are made by.
        roles: "model", and "baseline" where there is one.
        weight: column of the rows' weights, or None.
        query: column whose equal values make one ranking, or None.
        intervals: how they are estimated.
    """

    heads: tuple[Head, ...]
    slices: tuple[tuple[str, ...], ...] = ()
    buckets: Buckets = dataclasses.field(default_factory=dict)
    computed: tuple[str, ...] = ()
    roles: tuple[str, ...] = ("model",)
    weight: str | None = None
    query: str | None = None
    intervals: Intervals = Intervals.NONE
