"""Predictions and labels of a SavedModel over Arrow batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError, DataError
from engine.schema.conform import cast_array
from engine.schema.lists import is_list, value_lengths
from trainers.export.export import latest_version
from trainers.export.feature_names import LENGTHS_SUFFIX, read_feature_names

__all__ = ["LoadedModel", "batch_tensors"]

# Values of a call, on each thread: 32 MiB of float32, and some times that while they are counted.
_MOST_ANSWERS = 1 << 23
_LEAVE_OUT = "leave it out by naming the other outputs"


class LoadedModel:
    """A SavedModel, asked with batches of raw data through its `raw_features` signature.

    Args:
        path: the SavedModel, or a directory of versions (the newest is taken).
        output: which output holds the predictions; None where there is one only.
        every_output: `answers` is asked, not `predict`: no output needs to be chosen.
        answered: outputs that `answers` gives; none for all.

    Raises:
        ConfigError: no SavedModel there, or one that was not exported with such a signature.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        output: str | None = None,
        *,
        every_output: bool = False,
        answered: Sequence[str] = (),
    ) -> None:
        import tensorflow as tf

        self.path = latest_version(path)
        self._loaded = tf.saved_model.load(str(self.path))
        signatures = self._loaded.signatures
        if "raw_features" not in signatures:
            raise ConfigError(
                f"{self.path} has no signature raw_features, only {', '.join(sorted(signatures))}: evaluation asks it with "
                "batches of raw features; `fullpass export` writes such models"
            )
        self._answer = signatures["raw_features"]
        self._transform = signatures.get("transform_raw_features")
        self._names = read_feature_names(self.path)
        self.outputs = outputs = sorted(self._answer.structured_outputs)
        if output is None and len(outputs) > 1 and not every_output:
            raise ConfigError(f"{self.path} has the outputs {', '.join(outputs)}: say which one is evaluated")
        if output is not None and output not in outputs:
            raise ConfigError(f"output {output!r} not found; {self.path} has {', '.join(outputs)}")
        self.output = output or outputs[0]
        self._answered = list(answered) or outputs

    @property
    def devices(self) -> list[str]:
        """Where its weights lie, and so where it answers: "CPU:0", "GPU:0"; none of a model without weights."""
        names = {str(each.device).rpartition("device:")[2] for each in self._answer.variables}
        return sorted(names - {""})

    def rows_a_call(self, most: int, row: Callable[[], pa.RecordBatch | None]) -> int:
        """Returns how many rows a call may have, so that its answers fit into memory: fewer where a row has very many.

        Args:
            most: rows asked for.
            row: gives a batch of one row, of which the answers are counted where their shapes do not say it; None without rows.
        """
        shapes = [self._answer.structured_outputs[name].shape for name in self._answered]
        if all(shape.rank and shape[1:].is_fully_defined() for shape in shapes):
            width = sum(int(np.prod(shape[1:].as_list(), dtype=np.int64)) for shape in shapes)
        else:
            first = row()
            width = 1 if first is None else sum(values.size for values in self.answers(first).values())
        return max(min(most, _MOST_ANSWERS // max(width, 1)), 1)

    def columns(self, names: Sequence[str]) -> list[str]:
        """Returns the columns of the data that predictions need, with those that the named labels need."""
        needed = _tensor_features(self._answer)
        if any(self.computes(name) for name in names):
            needed = [*needed, *_tensor_features(self._transform)]
        return list(dict.fromkeys(self._names.get(name, name) for name in needed))

    def computes(self, name: str) -> bool:
        """Whether the transform graph inside the model gives a dense feature of this name."""
        return self._transform is not None and name in self._transform.structured_outputs

    def predict(self, batch: pa.RecordBatch) -> np.ndarray:
        """Returns float predictions [n], or [n, k] of k outputs.

        Raises:
            ConfigError: the output is ragged or sparse.
            DataError: the output is not one answer a row.
        """
        values = _as_numpy(self.output, self._answer(**_tensors(batch, self._answer, self._names))[self.output])
        if len(values) != batch.num_rows:
            answered = f"the model answered {len(values)} rows for {batch.num_rows}"
            raise DataError(f"{answered}; output {self.output!r} is not one prediction a row")
        return values.squeeze(1) if values.ndim == 2 and values.shape[1] == 1 else values

    def answers(self, batch: pa.RecordBatch) -> dict[str, np.ndarray]:
        """Returns the outputs [n, ...] by name.

        Raises:
            ConfigError: an output is ragged or sparse.
            DataError: an output is not one answer a row.
        """
        answered = self._answer(**_tensors(batch, self._answer, self._names))
        found = {name: _as_numpy(name, answered[name]) for name in self._answered}
        for name, values in found.items():
            if not values.ndim or len(values) != batch.num_rows:
                raise DataError(
                    f"output {name!r} has shape {list(values.shape)} for {batch.num_rows} rows; {_LEAVE_OUT}"
                )
        return found

    def transformed(self, batch: pa.RecordBatch, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Returns transformed features [n, ...] by name, as the graph inside the model computes them."""
        assert self._transform is not None
        result = self._transform(**_tensors(batch, self._transform, self._names))
        return {name: _as_numpy(name, result[name]) for name in names}


def _as_numpy(name: str, value: Any) -> np.ndarray:
    """A tensor as an array of a type that numpy and Arrow have: bfloat16, which they have not, as float32, exactly."""
    import tensorflow as tf

    if not isinstance(value, tf.Tensor):  # a ragged one would be an array where the rows of a batch happen to be alike
        raise ConfigError(
            f"output {name!r} is a {type(value).__name__}; predictions have equally many values in each row: have the model make "
            f"it dense, or {_LEAVE_OUT}"
        )
    array: np.ndarray = value.numpy()
    return array.astype(np.float32) if value.dtype.name == "bfloat16" else array


def _tensor_features(function: Any) -> list[str]:
    names = _inputs(function)
    lengths = {name + LENGTHS_SUFFIX for name in names}
    return [name for name in names if name not in lengths]


def _inputs(function: Any) -> dict[str, Any]:
    return dict(function.structured_input_signature[1])


def _tensors(batch: pa.RecordBatch, function: Any, names: Mapping[str, str]) -> dict[str, Any]:
    """Returns the columns of a batch as the plain tensors that a signature takes."""
    import tensorflow as tf

    signature = _inputs(function)
    tensors: dict[str, Any] = {}
    for name in _tensor_features(function):
        feature = names.get(name, name)
        spec, column = signature[name], batch.column(feature)
        if name + LENGTHS_SUFFIX in signature:
            values, lengths = _list_arrays(column, spec.dtype.name, feature)
            tensors[name], tensors[name + LENGTHS_SUFFIX] = tf.constant(values, spec.dtype), tf.constant(lengths)
        else:
            tensors[name] = tf.constant(_fixed_array(column, spec.dtype.name, spec.shape[1:], feature), spec.dtype)
    return tensors


def batch_tensors(
    batch: pa.RecordBatch, feature_spec: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Returns the columns of a batch as the arrays of `trainers.export.inputs.batch_signature`, by the names of tensors.

    Raises:
        DataError: a value is missing in a fixed feature, or does not fit the type.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, feature in feature_spec.items():
        if hasattr(feature, "shape"):
            arrays[names[name]] = _fixed_array(batch.column(name), feature.dtype.name, feature.shape, name)
        else:
            values, lengths = _list_arrays(batch.column(name), feature.dtype.name, name)
            arrays[names[name]], arrays[names[name] + LENGTHS_SUFFIX] = values, lengths
    return arrays


def _fixed_array(column: pa.Array, dtype: str, shape: Sequence[int], name: str) -> np.ndarray:
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(f"column {name!r} has a missing value, and the model was made for one in every row", record=row)
    values = _array(_flat(column), dtype, name)
    expected = len(column) * int(np.prod(shape, dtype=np.int64))
    if len(values) != expected:
        held = f"{len(values)} values in {len(column)} rows"
        raise DataError(f"column {name!r} has {held}, the model takes {list(shape)} a row")
    return values.reshape(len(column), *shape)


def _list_arrays(column: pa.Array, dtype: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    return _array(_flat(column), dtype, name), value_lengths(column)


def _flat(column: pa.Array) -> pa.Array:
    return column.flatten() if is_list(column.type) else column.drop_null()


def _array(values: pa.Array, dtype: str, name: str) -> np.ndarray:
    if values.null_count:  # those of missing rows are gone
        raise DataError(
            f"column {name!r} holds a null inside a list, which no tensor can: drop such values or fill them in where the data "
            "are made"
        )
    wanted = {"string": pa.large_binary(), "int64": pa.int64(), "float32": pa.float32()}[dtype]
    try:
        values = cast_array(values, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"column {name!r} is {values.type}, the model takes {dtype}: {error}") from None
    numbers: np.ndarray = values.to_numpy(zero_copy_only=False)
    return numbers
