"""Models with a `train_step` of their own (GANs, VAEs, distillation, contrastive learning), either Keras generation.

The step is run as it is written; only the sum of its gradients over the replicas, and clipping, are ours. Which optimizers
it uses, on which variables, is learned by tracing it once without running it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from engine.core.errors import ConfigError

__all__ = ["OwnSteps", "overrides", "watched"]


def overrides(model: Any, base: type, name: str) -> bool:
    """Returns whether the class of the model, or the model, has another method of this name than the base class."""
    return getattr(type(model), name) is not getattr(base, name) or name in vars(model)


class OwnSteps:
    """Runs `train_step` of a model.

    Args:
        model: a compiled model.
        optimizer_class: of which its optimizers are.
    """

    def __init__(self, model: Any, optimizer_class: Any) -> None:
        self._model, self._optimizer_class = model, optimizer_class
        self._reduce: Callable[[list[Any]], list[Any]] | None = None

    def discover(self, data: Any) -> list[tuple[Any, list[Any]]]:
        """Returns the optimizers that the step applies, in the order of their first use, and their variables.

        Called in the scope of the strategy.

        Raises:
            ConfigError: the step applies none, or cannot be run on several replicas.
        """
        strategy = tf.distribute.get_strategy()
        used: dict[int, tuple[Any, list[Any]]] = {}
        losses: list[str] = []
        with contextlib.ExitStack() as stack:
            for optimizer in self._optimizers():
                stack.enter_context(watched(optimizer, "apply", _note_use(optimizer, used, pairs=False)))
                stack.enter_context(watched(optimizer, "apply_gradients", _note_use(optimizer, used, pairs=True)))
            compute_loss = self._model.compute_loss
            stack.enter_context(watched(self._model, "compute_loss", _noted(compute_loss, losses)))
            # The graph is thrown away: tracing alone changes no variable.
            tf.function(
                lambda: strategy.run(self._model.train_step, args=(data,)), autograph=False
            ).get_concrete_function()
        name = type(self._model).__name__
        if not used:
            raise ConfigError(
                f"train_step of {name} applies no optimizer that is an attribute of the model: set it in compile()"
            )
        if strategy.num_replicas_in_sync > 1 and not losses:
            # Keras divides its losses by the number of replicas in compute_loss; a mean of the user's own would be summed.
            raise ConfigError(
                f"train_step of {name} takes its loss from elsewhere than self.compute_loss: on "
                f"{strategy.num_replicas_in_sync} replicas its gradients would be so many times as large; use "
                "self.compute_loss, or train on one replica (strategy='one_device')"
            )
        return list(used.values())

    def _optimizers(self) -> list[Any]:
        found = {id(v): v for v in vars(self._model).values() if isinstance(v, self._optimizer_class)}
        mine = self._model.optimizer
        return list({**found, id(mine): mine}.values())

    def train(self, data: Any, reduce: Callable[[list[Any]], list[Any]]) -> Any:
        """Makes one step in replica context and returns its loss, float32."""
        self._reduce = reduce
        return self.loss_of(self._model.train_step(data))

    def aggregate(self, pairs: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        """Returns (gradient, variable) pairs with the gradients that the loop makes of them."""
        pairs = list(pairs)
        if self._reduce is None:
            return pairs
        return list(zip(self._reduce([g for g, _ in pairs]), [v for _, v in pairs]))

    @staticmethod
    def loss_of(logs: Any) -> Any:
        """Returns "loss" of what a step returned, or the first value, as float32; 0 where it returned nothing."""
        if not isinstance(logs, dict) or not logs:
            return tf.constant(0.0)
        value = logs["loss"] if "loss" in logs else next(iter(logs.values()))
        return tf.reduce_mean(tf.cast(tf.convert_to_tensor(value), tf.float32))


def _note_use(optimizer: Any, used: dict[int, tuple[Any, list[Any]]], pairs: bool) -> Callable[..., Any]:
    def noted(gradients: Any, variables: Any = None, *args: Any, **kwargs: Any) -> None:
        if pairs:
            found = [v for _, v in list(gradients)]
        else:
            found = list(kwargs.get("trainable_variables", variables) or [])
        known = used.setdefault(id(optimizer), (optimizer, []))[1]
        known += [v for v in found if not any(v is k for k in known)]

    return noted


def _noted(function: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    def noting(*args: Any, **options: Any) -> Any:
        calls.append("")
        return function(*args, **options)

    return noting


@contextlib.contextmanager
def watched(owner: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """The method of this one object is another function within the context; nobody else's object is touched."""
    if not hasattr(owner, name):
        yield
        return
    object.__setattr__(owner, name, function)
    try:
        yield
    finally:
        object.__delattr__(owner, name)
