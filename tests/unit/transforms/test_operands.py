"""Which tensors are a column of the input as it is: not those that wait for an assertion of the user's."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_transform as tft

from transforms.planning.operands import ColumnInput, TensorInput, find_input


def _check(x: Any) -> Any:
    return tf.debugging.assert_less(x, 3.0)


def _after(x: Any, check: Any) -> Any:
    with tf.control_dependencies([check]):
        return tf.identity(x)


def _written_in(file: str, function: Callable[..., Any]) -> Any:
    names: dict[str, Any] = {"tf": tf, "Any": Any}
    exec(compile(inspect.getsource(function), file, "exec"), names)
    return names[function.__name__]


_TFT = os.path.join(os.path.dirname(tft.__file__), "mappers.py")
_NEAR = "/my/tensorflow_transform_demo/features.py"


@pytest.mark.parametrize(
    ("check", "after", "kind"),
    [(_TFT, _TFT, ColumnInput), (_NEAR, _NEAR, TensorInput), (_NEAR, _TFT, TensorInput), (_TFT, _NEAR, TensorInput)],
    ids=["TFT's own", "the user's", "TFT after the user's", "the user's after TFT's"],
)
def test_a_tensor_that_waits_for_the_users_assertion_is_no_column(check: str, after: str, kind: type) -> None:
    with tf.Graph().as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None])
        trace = SimpleNamespace(components={x.name: ("x", 0)}, inputs={"x": x})
        waiting = _written_in(after, _after)(x, _written_in(check, _check)(x))
        assert isinstance(find_input(trace, waiting), kind)
        assert isinstance(find_input(trace, x), ColumnInput)
