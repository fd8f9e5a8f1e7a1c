"""Optimizers of either Keras as the loop uses them: gradients come summed over the replicas, whatever scales the loss."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from engine.core.errors import ConfigError
from trainers.compat import keras as keras3

__all__ = ["Keras2Optimizer", "Keras3Optimizer", "optimizer_of"]


def optimizer_of(optimizer: Any) -> Keras2Optimizer | Keras3Optimizer:
    """Returns an optimizer of either generation of Keras, or of a class that has the methods of one.

    Raises:
        ConfigError: it has no `build` and `apply_gradients`.
    """
    if isinstance(optimizer, keras.optimizers.Optimizer):
        return Keras3Optimizer(optimizer)
    keras2 = sys.modules.get("tf_keras")
    legacy = keras2 is not None and isinstance(optimizer, keras2.optimizers.legacy.Optimizer)
    if not legacy and not all(hasattr(optimizer, name) for name in ("build", "apply_gradients")):
        kind = f"{type(optimizer).__module__}.{type(optimizer).__name__}"
        raise ConfigError(f"optimizer is a {kind}; give an optimizer of keras.optimizers or tf_keras.optimizers")
    return Keras2Optimizer(optimizer)


class Keras3Optimizer:
    """An optimizer of Keras 3.

    Attributes:
        inner: without the `LossScaleOptimizer` around it, where there is one.
    """

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.inner = getattr(optimizer, "inner_optimizer", optimizer)
        if isinstance(self.inner, getattr(keras.optimizers, "MultiOptimizer", ())):
            raise ConfigError(
                f"optimizer is a {type(self.inner).__name__}, which has no learning rate, averages or state of its own to go on with: "
                "use one optimizer, or several as attributes of a model with a train_step of its own"
            )
        keras3.aggregate_gradients_with(self.inner, list)

    def build(self, variables: Sequence[Any]) -> None:
        """Makes the optimizer's variables, unless they are there: those of a loaded model are."""
        if not self.optimizer.built:
            self.optimizer.build(list(variables))

    def scale_loss(self, loss: Any) -> Any:
        """Returns the loss to differentiate."""
        return self.optimizer.scale_loss(loss)

    def unscaled(self, gradients: Sequence[Any]) -> list[Any]:
        """Returns the gradients of the loss itself from those of the scaled loss."""
        scale = self._scale()
        return list(gradients) if scale is None else [None if g is None else _times(g, 1.0 / scale) for g in gradients]

    def apply(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        """Makes a step with gradients of the loss itself, None where there is none."""
        scale = self._scale()
        if scale is not None:  # by which the optimizer divides; a power of two, so nothing is lost there and back
            gradients = [None if g is None else _times(g, scale) for g in gradients]
        self.optimizer.apply(list(gradients), list(variables))

    def _scale(self) -> Any:
        scales = self.inner is not self.optimizer or self.optimizer.loss_scale_factor is not None
        return self.optimizer.scale_loss(tf.constant(1.0)) if scales else None

    @property
    def averages(self) -> list[Any] | None:
        """Moving averages of the weights, where the optimizer keeps them (`use_ema`); else None."""
        return keras3.average_variables(self.inner)

    @property
    def variables(self) -> list[Any]:
        """The optimizer's tf.Variables, those among them that it does not list itself."""
        return [keras3.tf_variable(v) for v in keras3.optimizer_variables(self.optimizer)]

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(tf.convert_to_tensor(self.inner.learning_rate))


class Keras2Optimizer:
    """An optimizer of tf_keras, a legacy one among them, or of a class with the same methods.

    Attributes:
        inner: without the `LossScaleOptimizer` around it, where there is one.
    """

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.inner = getattr(optimizer, "inner_optimizer", optimizer)
        self._scales = hasattr(optimizer, "get_scaled_loss")
        self._legacy = not hasattr(self.inner, "build")

    def build(self, variables: Sequence[Any]) -> None:
        """Makes the optimizer's variables."""
        if self._legacy:
            from trainers.compat.tf_keras import create_weights

            create_weights(self.inner, list(variables))
            return
        self.optimizer.build(list(variables))
        if "tf_keras" in sys.modules:
            from trainers.compat.tf_keras import compute_momentum_product_once

            compute_momentum_product_once(self.inner)

    def scale_loss(self, loss: Any) -> Any:
        """Returns the loss to differentiate."""
        return self.optimizer.get_scaled_loss(loss) if self._scales else loss

    def unscaled(self, gradients: Sequence[Any]) -> list[Any]:
        """Returns the gradients of the loss itself from those of the scaled loss."""
        return list(self.optimizer.get_unscaled_gradients(gradients)) if self._scales else list(gradients)

    def apply(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        """Makes a step with gradients of the loss itself, None where there is none."""
        pairs = [(g, v) for g, v in zip(gradients, variables) if g is not None]
        if self._legacy:
            self.optimizer.apply_gradients(pairs, experimental_aggregate_gradients=False)
        else:
            self.optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)

    @property
    def averages(self) -> list[Any] | None:
        """Moving averages of the weights, where the optimizer keeps them (`use_ema`); else None."""
        if not getattr(self.inner, "use_ema", False):
            return None
        from trainers.compat.tf_keras import average_variables

        return average_variables(self.inner)

    @property
    def variables(self) -> list[Any]:
        """The optimizer's tf.Variables, those among them that it does not list itself."""
        listed = self.optimizer.variables
        found = list(listed() if callable(listed) else listed)
        if "tf_keras" in sys.modules:
            from trainers.compat.tf_keras import unlisted_variables

            known = {id(v) for v in found}
            found += [v for v in unlisted_variables(self.optimizer) if id(v) not in known]
        return found

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        rate = self.inner.learning_rate
        return float(rate(self.optimizer.iterations) if callable(rate) else tf.convert_to_tensor(rate))


def _times(gradient: Any, factor: Any) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(_times(gradient.values, factor), gradient.indices, gradient.dense_shape)
    return gradient * tf.cast(factor, gradient.dtype)
