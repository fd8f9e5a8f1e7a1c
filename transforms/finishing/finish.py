"""What follows a pass: finish the accumulators, run the evaluators, and bind the results to tensors of the graph.

An `Evaluation` is picklable: it holds operation definitions, no TensorFlow graph, so that it can run on a worker too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from transforms.planning.finishers import EvaluationContext, evaluator_for

__all__ = ["Binding", "Evaluation", "Step", "evaluation_of"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One operation.

    Attributes:
        definition: TFT's operation definition; None for an accumulator and for a constant.
        inputs: (index of the step, index of its output) of each input.
        analyzer: index of the accumulator in the pass, or None.
        constant: outputs known beforehand, or None.
    """

    definition: Any = None
    inputs: tuple[tuple[int, int], ...] = ()
    analyzer: int | None = None
    constant: tuple[Any, ...] | None = None

    def __reduce__(self) -> Any:
        """Pickles TFT's definitions, named tuples whose constructors do not take their own fields."""
        definition = None if self.definition is None else (type(self.definition), tuple(self.definition))
        return _rebuild_step, (definition, self.inputs, self.analyzer, self.constant)


def _rebuild_step(definition: Any, inputs: Any, analyzer: Any, constant: Any) -> Step:
    rebuilt = None if definition is None else tuple.__new__(definition[0], definition[1])
    return Step(definition=rebuilt, inputs=inputs, analyzer=analyzer, constant=constant)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Binding:
    """A tensor of the graph that gets a value.

    Attributes:
        tensor: its name.
        dtype: its TensorFlow dtype as an enum.
        is_asset: whether the value is the path of an asset.
        step: index of the step.
        output: index of its output.
    """

    tensor: str
    dtype: int
    is_asset: bool
    step: int
    output: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Steps in an order in which each comes after its inputs, and what is bound.

    Attributes:
        steps: all of them.
        bindings: results.
    """

    steps: tuple[Step, ...]
    bindings: tuple[Binding, ...]

    def run(self, values: Sequence[Any], assets_dir: str, graph: Any = None) -> dict[str, Any]:
        """Returns the value of each bound tensor by name.

        Args:
            values: of the accumulators, in the order of the pass.
            assets_dir: existing directory for files that evaluators write.
            graph: the traced graph where it is at hand.
        """
        context = EvaluationContext(assets_dir=assets_dir, graph=graph)
        outputs: list[tuple[Any, ...]] = []
        for step in self.steps:
            if step.constant is not None:
                outputs.append(step.constant)
            elif step.analyzer is not None:
                outputs.append((values[step.analyzer],))
            else:
                inputs = [outputs[at][place] for at, place in step.inputs]
                outputs.append(_evaluate(step.definition, inputs, context))
        return {each.tensor: outputs[each.step][each.output] for each in self.bindings}


def _evaluate(definition: Any, inputs: Sequence[Any], context: EvaluationContext) -> tuple[Any, ...]:
    evaluator = evaluator_for(definition)
    if evaluator is None:
        raise RuntimeError(f"no evaluator for {definition}")
    return evaluator(definition, inputs, context)


def evaluation_of(phase: Any, trace: Any) -> Evaluation:
    """Returns the evaluation of a phase.

    Args:
        phase: `planning.Phase`.
        trace: the traced function; operations without inputs (reserved tokens) are read from its graph now.
    """
    from transforms.planning.plan import ACCUMULATE_OPERATIONS

    analyzers = {analyzer.label: index for index, analyzer in enumerate(phase.analyzers)}
    steps: list[Step] = []
    places: dict[int, int] = {}

    def visit(node: Any) -> int:
        if id(node) in places:
            return places[id(node)]
        definition = node.operation_def
        if isinstance(definition, ACCUMULATE_OPERATIONS):
            step = Step(analyzer=analyzers[definition.label])
        elif not node.inputs:
            context = EvaluationContext(assets_dir="", graph=trace.graph)
            step = Step(constant=tuple(_evaluate(definition, [], context)))
        else:
            inputs = tuple((visit(value.parent_operation), value.value_index) for value in node.inputs)
            step = Step(definition=definition, inputs=inputs)
        steps.append(step)
        places[id(node)] = len(steps) - 1
        return places[id(node)]

    bindings = tuple(
        Binding(
            tensor=sink.tensor.name,
            dtype=sink.tensor.dtype.as_datatype_enum,
            is_asset=bool(sink.is_asset_filepath),
            step=visit(sink.future.parent_operation),
            output=sink.future.value_index,
        )
        for sink in phase.sinks
    )
    return Evaluation(steps=tuple(steps), bindings=bindings)
