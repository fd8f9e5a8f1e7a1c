"""Notes of the per-batch reductions that TFT puts before analyzers, taken by wrapping its functions while tracing."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_transform import (
    tf_utils,
)

from transforms.accumulators.base import Reduction
from transforms.tft.lean_reductions import BATCH_REDUCTIONS
from transforms.tft.patches import replaced

__all__ = ["NotedReduction", "noting_reductions"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotedReduction:
    """A reduction with the tensors it was called on.

    Attributes:
        reduction: what it is, without tensors.
        raw: value tensor of each tensor argument (the values of sparse ones, the flat values of ragged ones).
    """

    reduction: Reduction
    raw: tuple[tf.Tensor, ...]


def noting_reductions(noted: dict[str, NotedReduction]) -> contextlib.AbstractContextManager[None]:
    """Returns a context in which this thread's reductions are noted by the name of each tensor that they return."""
    return replaced(tf_utils, {name: functools.partial(_note_calls, name, noted) for name in BATCH_REDUCTIONS})


def _note_calls(name: str, noted: dict[str, NotedReduction], function: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def noting(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        tensors = [value for value in bound.arguments.values() if _kind(value)]
        raw = tuple(tf_utils.get_values(value) for value in tensors)
        reduction = Reduction(
            name=name,
            arguments={key: value for key, value in bound.arguments.items() if not _kind(value) and value is not None},
            kinds=tuple(_kind(value) for value in tensors),
            dtypes=tuple(value.dtype.as_numpy_dtype.__name__.rstrip("_") for value in raw),
            shapes=tuple(_shape(value) for value in tensors),
        )
        entry = NotedReduction(reduction=reduction, raw=raw)
        for output in result:
            if isinstance(output, tf.Tensor) and hasattr(output, "op"):
                noted[output.name] = entry
        return result

    return noting


def _kind(value: Any) -> str:
    if isinstance(value, tf.SparseTensor):
        return "sparse"
    if isinstance(value, tf.RaggedTensor):
        return "ragged"
    return "dense" if isinstance(value, tf.Tensor) else ""


def _shape(value: Any) -> tuple[int | None, ...] | None:
    return None if value.shape.rank is None else tuple(value.shape.as_list())
