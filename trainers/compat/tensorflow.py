"""Private names of TensorFlow that training needs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.distribute.parameter_server_strategy_v2 import ParameterServerStrategyV2Extended
from tensorflow.python.framework import config

from trainers.compat.require import require, require_assigned

__all__ = ["attributes_of_module", "exchange_partitioner", "is_op_determinism_enabled", "mirrored_strategy"]

require("tensorflow", tf.__version__, config, "is_op_determinism_enabled", use=">=2.18")
require("tensorflow", tf.__version__, tf.distribute.MirroredStrategy, "_collective_key_base", use=">=2.18")
require("tensorflow", tf.__version__, tf.Module, "_TF_MODULE_IGNORED_PROPERTIES", use=">=2.18")
require_assigned("tensorflow", tf.__version__, ParameterServerStrategyV2Extended, "_variable_partitioner", use=">=2.18")


def attributes_of_module(module: tf.Module) -> list[tuple[str, Any]]:
    """Returns (name, value) of the attributes in which a module looks for its parts, in the order of their names."""
    ignored = module._TF_MODULE_IGNORED_PROPERTIES
    return sorted((item for item in vars(module).items() if item[0] not in ignored), key=lambda item: item[0])


def exchange_partitioner(strategy: Any, partitioner: Any) -> Any:
    """Gives a strategy with parameter servers another partitioner of its variables, or None; returns the one it had."""
    extended = strategy.extended
    before, extended._variable_partitioner = extended._variable_partitioner, partitioner
    return before


def is_op_determinism_enabled() -> bool:
    """Returns whether `tf.config.experimental.enable_op_determinism` was called in this process."""
    return bool(config.is_op_determinism_enabled())


_KEYS_OF_A_STRATEGY = 100_000
_strategies = itertools.count()


def mirrored_strategy(devices: Sequence[str]) -> tf.distribute.MirroredStrategy:
    """Returns a strategy whose replicas meet under keys that no strategy of this process has had.

    TensorFlow gives the collectives of each one the same keys, under which it remembers their shapes: of two models that are trained one
    after the other the second one failed.
    """

    class Mirrored(tf.distribute.MirroredStrategy):  # type: ignore[misc]
        _collective_key_base = next(_strategies) * _KEYS_OF_A_STRATEGY

    return Mirrored(list(devices))
