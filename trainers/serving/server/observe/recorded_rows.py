"""The rows of a recorded request: its features as tf.Examples, with the answers beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trainers.export.feature_names import LENGTHS_SUFFIX
from trainers.serving.server.loads.warmup import RECORDED

__all__ = ["rows_with_answers"]

_OWN = ("model", "signature", "version")  # an output of such a name has another one in the record


def rows_with_answers(
    model: str,
    version: int,
    inputs: Any,
    names: Mapping[str, str],
    outputs: Mapping[str, np.ndarray],
    signature: str,
) -> list[bytes]:
    """Returns a serialized tf.Example for each row.

    Args:
        model: that was asked.
        version: that answered.
        inputs: serialized examples, or tensors by name.
        names: of features by those of their tensors, where the two differ.
        outputs: the answers.
        signature: that was asked.

    Raises:
        ValueError: the request has no rows, its answers have others, or a number has no form as a feature.
    """
    import tensorflow as tf

    rows = []
    examples = (
        _of_columns(inputs, names) if isinstance(inputs, Mapping) else [*map(tf.train.Example.FromString, inputs)]
    )
    if not examples:
        raise ValueError("the request has no rows")
    if any(len(values) != len(examples) for values in outputs.values()):
        raise ValueError("the answers have other rows than the request")
    for position, example in enumerate(examples):
        feature = example.features.feature
        feature[f"{RECORDED}model"].bytes_list.value.append(model.encode())
        feature[f"{RECORDED}signature"].bytes_list.value.append(signature.encode())
        feature[f"{RECORDED}version"].int64_list.value.append(version)
        for name, values in outputs.items():
            _fill(feature[RECORDED + (f"output.{name}" if name in _OWN else name)], np.ravel(values[position]))
        rows.append(example.SerializeToString())
    return rows


def _of_columns(inputs: Mapping[str, np.ndarray], names: Mapping[str, str]) -> list[Any]:
    """Examples of tensors with rows; a row without values of a feature lacks it, as it lay in the data."""
    import tensorflow as tf

    columns: dict[str, Any] = {}
    for name, array in inputs.items():
        lengths = inputs.get(name + LENGTHS_SUFFIX)
        if lengths is not None:
            columns[names.get(name, name)] = np.split(array, np.cumsum(lengths)[:-1])
        elif name.removesuffix(LENGTHS_SUFFIX) == name or name.removesuffix(LENGTHS_SUFFIX) not in inputs:
            columns[names.get(name, name)] = array
    rows = []
    for values in zip(*columns.values(), strict=True):
        example = tf.train.Example()
        for name, value in zip(columns, values):
            if np.size(value):
                _fill(example.features.feature[name], np.ravel(value))
        rows.append(example)
    return rows


def _fill(feature: Any, values: np.ndarray) -> None:
    if values.dtype.kind in "iub":
        if values.dtype == np.uint64 and (values >> np.uint64(63)).any():
            raise ValueError("a number has more than the 63 bits of a feature")
        feature.int64_list.value.extend(values.astype(np.int64).tolist())
    elif values.dtype.kind in "OSU":
        feature.bytes_list.value.extend(values.tolist())
    elif values.dtype.kind == "c":
        raise ValueError("a complex number has no form as a feature")
    else:
        with np.errstate(over="ignore"):
            single = values.astype(np.float32)
        if (np.isinf(single) & np.isfinite(values)).any():
            raise ValueError("a number is beyond float32, which features have")
        feature.float_list.value.extend(single.tolist())
