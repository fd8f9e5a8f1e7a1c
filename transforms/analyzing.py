"""The phases of an analysis, one after another: plan, pass over the data, evaluate, until all analyzers are known."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_transform import impl_helper

from transforms.analysis_pass import AnalysisPass, PassAnalyzer
from transforms.columns import ColumnInput
from transforms.evaluators import EvaluationContext, evaluator_for
from transforms.feeds import FeatureLayout
from transforms.graph_function import SavedModelFunction, cut_graph
from transforms.planning import ACCUMULATE_OPERATIONS, Phase, plan_phase
from transforms.tracing import Trace

__all__ = ["Analysis"]


@dataclasses.dataclass
class Analysis:
    """An analysis under way.

    Attributes:
        trace: the traced function.
        layouts: how input features stand in batches.
        values: value of each sink tensor that is known, by tensor name.
        phase: number of the next phase.
    """

    trace: Trace
    layouts: Mapping[str, FeatureLayout]
    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    phase: int = 0
    _evaluated: dict[int, tuple[Any, ...]] = dataclasses.field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether all analyzers are known."""
        return all(sink.tensor.name in self.values for sink in self.trace.sinks)

    def next_phase(self) -> tuple[Phase, AnalysisPass]:
        """Returns the next phase and the pass that does it."""
        phase = plan_phase(self.trace, self.phase, set(self.values))
        return phase, self._pass_of(phase)

    def complete(self, phase: Phase, values: list[Any]) -> None:
        """Takes the values of the phase's analyzers and evaluates what follows them.

        Args:
            phase: from `next_phase`.
            values: what `AnalysisPass.finish` returned.
        """
        assets = os.path.join(self.trace.temp_dir, "assets")
        os.makedirs(assets, exist_ok=True)
        context = EvaluationContext(assets_dir=assets, graph=self.trace.graph)
        known = {analyzer.label: value for analyzer, value in zip(phase.analyzers, values)}
        for sink in phase.sinks:
            outputs = self._evaluate(sink.future.parent_operation, known, context)
            self.values[sink.tensor.name] = outputs[sink.future.value_index]
        self.phase += 1

    def replacements(self) -> dict[str, tf.Tensor]:
        """Returns the known sinks as constants by tensor name, as TFT's tracing takes them."""
        dtypes = {sink.tensor.name: sink.tensor.dtype for sink in self.trace.sinks}
        with tf.init_scope():
            return {name: tf.constant(value, dtypes[name]) for name, value in self.values.items()}

    def _evaluate(self, node: Any, known: Mapping[str, Any], context: EvaluationContext) -> tuple[Any, ...]:
        if id(node) not in self._evaluated:
            definition = node.operation_def
            if isinstance(definition, ACCUMULATE_OPERATIONS):
                outputs: tuple[Any, ...] = (known[definition.label],)
            else:
                inputs = [self._evaluate(v.parent_operation, known, context)[v.value_index] for v in node.inputs]
                outputs = evaluator_for(definition)(definition, inputs, context)
            self._evaluated[id(node)] = outputs
        return self._evaluated[id(node)]

    def _pass_of(self, phase: Phase) -> AnalysisPass:
        fetches: dict[str, int] = {}
        analyzers = []
        columns: dict[str, None] = {}
        for analyzer in phase.analyzers:
            inputs: list[ColumnInput | int] = []
            for each in analyzer.inputs:
                if isinstance(each, ColumnInput):
                    inputs.append(each)
                    columns.update(dict.fromkeys(self.layouts[each.feature].columns))
                else:
                    inputs.append(fetches.setdefault(each.name, len(fetches)))
            analyzers.append(PassAnalyzer(label=analyzer.label, accumulator=analyzer.accumulator, inputs=tuple(inputs)))
        function = self._function(list(fetches)) if fetches else None
        for feature, _ in function.feeds if function else ():
            columns.update(dict.fromkeys(self.layouts[feature].columns))
        return AnalysisPass(
            analyzers=tuple(analyzers), function=function, layouts=dict(self.layouts), columns=tuple(columns)
        )

    def _function(self, fetches: list[str]) -> Any:
        constants = {name: np.asarray(value) for name, value in self.values.items()}
        cut = cut_graph(self.trace, fetches, constants)
        return cut if cut is not None else self._saved_model(fetches)

    def _saved_model(self, fetches: list[str]) -> SavedModelFunction:
        path = os.path.join(self.trace.temp_dir, f"phase-{self.phase}")
        keys = {f"fetch_{index}": name for index, name in enumerate(fetches)}
        impl_helper._trace_and_write_transform_fn(
            path,
            self.trace.preprocessing_fn,
            self.trace.specs,
            self.trace.temp_dir,
            self.replacements(),
            keys,
            None,
        )
        feeds = tuple(
            (feature, index)
            for feature, value in self.trace.inputs.items()
            for index, _ in enumerate(tf.nest.flatten(value, expand_composites=True))
        )
        return SavedModelFunction(path=path, feeds=feeds, fetches=tuple(keys))


Progressing = Callable[[int], None]
