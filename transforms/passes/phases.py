"""The phases of an analysis, one after another: plan, pass over the data, evaluate, until all analyzers are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from transforms.batches.columns import ColumnInput
from transforms.batches.features import BatchSource
from transforms.finishing.finish import Evaluation, evaluation_of
from transforms.passes.analysis import AnalysisPass, PassAnalyzer, finish_parts, merge_part
from transforms.planning.graph_function import GraphFunction, cut_graph
from transforms.planning.plan import Phase, plan_phase
from transforms.tracing.trace import Trace

__all__ = ["PhasePlan", "plan_phases"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhasePlan:
    """One phase, ready to run anywhere; picklable.

    Attributes:
        number: from 0.
        analyzers: of the pass, with their inputs.
        source: takes features out of batches.
        graph: the graph to run on each batch; None where columns suffice, or where a SavedModel is needed.
        fetches: names of the tensors that the pass takes from TensorFlow.
        evaluation: what follows the pass.
    """

    number: int
    analyzers: tuple[PassAnalyzer, ...]
    source: BatchSource
    graph: GraphFunction | None
    fetches: tuple[str, ...]
    evaluation: Evaluation

    @property
    def needs_saved_model(self) -> bool:
        """Whether the graph has tables or other resources, so that TFT must write a SavedModel for the phase."""
        return bool(self.fetches) and self.graph is None

    def merge(self, key: tuple[int, int], blobs: Sequence[bytes]) -> bytes | memoryview:
        """Returns the merged and sealed part of an analyzer, see `analysis_pass.merge_part`."""
        return merge_part(self.analyzers, key, blobs)

    def finish(self, parts: Mapping[tuple[int, int], bytes]) -> list[Any]:
        """Returns one value an analyzer out of all merged parts."""
        return finish_parts(self.analyzers, parts)

    def bind(self, values: dict[str, Any], saved_model: Any = None) -> AnalysisPass:
        """Returns the pass.

        Args:
            values: results of earlier phases by tensor name.
            saved_model: `SavedModelFunction` where one is needed.
        """
        function = saved_model if self.graph is None else self.graph.with_constants(values)
        return AnalysisPass(analyzers=self.analyzers, function=function, source=self.source)


def plan_phases(trace: Trace, source: BatchSource) -> list[PhasePlan]:
    """Returns all phases of an analysis.

    Args:
        trace: the traced function.
        source: takes features out of batches.
    """
    plans: list[PhasePlan] = []
    known: set[str] = set()
    names = {sink.tensor.name for sink in trace.sinks}
    while not names <= known:
        phase = plan_phase(trace, len(plans), known)
        plans.append(_plan(trace, phase, source, known))
        known.update(sink.tensor.name for sink in phase.sinks)
    return plans


def _plan(trace: Trace, phase: Phase, source: BatchSource, known: set[str]) -> PhasePlan:
    fetches: dict[str, int] = {}
    analyzers = []
    for analyzer in phase.analyzers:
        inputs = tuple(
            each if isinstance(each, ColumnInput) else fetches.setdefault(each.name, len(fetches))
            for each in analyzer.inputs
        )
        analyzers.append(PassAnalyzer(label=analyzer.label, accumulator=analyzer.accumulator, inputs=inputs))
    return PhasePlan(
        number=phase.number,
        analyzers=tuple(analyzers),
        source=source,
        graph=cut_graph(trace, list(fetches), sorted(known)) if fetches else None,
        fetches=tuple(fetches),
        evaluation=evaluation_of(phase, trace),
    )
