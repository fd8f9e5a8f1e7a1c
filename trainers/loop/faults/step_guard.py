"""Values that are not numbers: a step that is taken back, and weights that are looked through before they are saved."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import tensorflow as tf

__all__ = ["StepGuard", "first_bad_tensor"]


class StepGuard:
    """Takes a step back whose loss or new weights are not finite.

    Cost: a copy of all variables a step, and a look through all weights.

    Args:
        strategy: where the variables are.
        variables: returns (weights, everything that a step changes) once the model is built.
    """

    def __init__(self, strategy: Any, variables: Callable[[], tuple[list[Any], list[Any]]]) -> None:
        self._strategy, self._variables = strategy, variables

    def values(self) -> list[list[Any]]:
        """Returns the values before the step, by variable and device of this host. In cross-replica context."""
        return [[tf.identity(part) for part in self._parts(v)] for v in self._variables()[1]]

    def undo_unless_finite(self, loss: Any, before: list[list[Any]]) -> Any:
        """Puts the values back where the step was no good, and returns its loss, then NaN.

        All replicas see the same summed loss and the same weights, so all of them decide alike.
        """
        weights, every = self._variables()
        checks = [tf.math.is_finite(loss)]
        checks += [tf.reduce_all(tf.math.is_finite(self._parts(v)[0])) for v in weights if v.dtype.is_floating]
        good = tf.reduce_all(checks)
        for variable, old in zip(every, before):
            for part, value in zip(self._parts(variable), old):
                part.assign(tf.where(good, part, value))
        return tf.where(good, loss, tf.constant(float("nan"), loss.dtype))

    def _parts(self, variable: Any) -> Sequence[Any]:
        parts: Sequence[Any] = self._strategy.experimental_local_results(variable)
        return parts


def first_bad_tensor(groups: Mapping[str, Sequence[tuple[str, Any]]], trained: Collection[str]) -> str | None:
    """Returns the name of the first weight or average that has a value that is not a finite number, or None.

    Infinities among what is not trained may be meant (a mask) and pass; so does the optimizer's state, which shows in the
    weights one step later.

    Args:
        groups: group to (name, tensor), as a checkpoint holds them.
        trained: names of the weights that the optimizer changes.
    """
    for group in ("model", "average"):
        for name, tensor in groups.get(group, ()):
            if not tensor.dtype.is_floating:
                continue
            strict = group == "average" or name in trained
            bad = tf.logical_not(tf.math.is_finite(tensor)) if strict else tf.math.is_nan(tensor)
            if bool(tf.reduce_any(bad)):
                return name
    return None
