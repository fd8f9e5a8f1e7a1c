"""Taking features out of Arrow batches: of an `engine.Dataset`, or of any TFXIO source with its TensorAdapterConfig."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from engine.schema.lists import is_variable_list
from transforms.batches.columns import flat_values
from transforms.batches.placeholders import FeatureLayout, components, dense_values

__all__ = ["AdapterSource", "BatchSource", "LayoutSource"]


class BatchSource(Protocol):
    """Takes features out of batches; picklable."""

    def values(self, batch: pa.RecordBatch, feature: str) -> pa.Array:
        """Returns the flat values of a feature without nulls."""

    def arrays(self, batch: pa.RecordBatch, wanted: Sequence[tuple[str, int]]) -> list[Any]:
        """Returns one array a wanted (feature, component), as TensorFlow's placeholders take them."""

    def columns_of(self, feature: str) -> tuple[str, ...]:
        """Returns the columns that a feature is made of."""

    def description(self, feature: str) -> str:
        """Returns how a feature is taken out of batches, as text that is the same in each process."""


@dataclasses.dataclass(frozen=True)
class LayoutSource:
    """Features of an `engine.Dataset`.

    Attributes:
        layouts: by feature.
    """

    layouts: Mapping[str, FeatureLayout]

    def values(self, batch: pa.RecordBatch, feature: str) -> pa.Array:
        """Returns the flat values of a feature without nulls."""
        layout = self.layouts[feature]
        column = batch.column(layout.column or layout.name)
        return (
            dense_values(column, layout, batch.num_rows) if layout.kind == "dense" else flat_values(column, layout.name)
        )

    def arrays(self, batch: pa.RecordBatch, wanted: Sequence[tuple[str, int]]) -> list[Any]:
        """Returns one array a wanted (feature, component); each feature is converted once."""
        converted: dict[str, list[Any]] = {}
        for feature, _ in wanted:
            if feature not in converted:
                converted[feature] = components(batch, self.layouts[feature])
        return [converted[feature][component] for feature, component in wanted]

    def columns_of(self, feature: str) -> tuple[str, ...]:
        """Returns the columns that a feature is made of."""
        return self.layouts[feature].columns

    def description(self, feature: str) -> str:
        """Returns the layout."""
        return repr(self.layouts[feature])


class AdapterSource:
    """Features of TFXIO batches, by TFX's own adapter.

    Args:
        config: `tfx_bsl.tfxio.tensor_adapter.TensorAdapterConfig`.
    """

    def __init__(self, config: Any) -> None:
        self._config = config
        self._adapters: dict[tuple[str, ...], Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Returns the configuration alone: adapters are made anew in each process."""
        return {"_config": self._config, "_adapters": {}}

    def values(self, batch: pa.RecordBatch, feature: str) -> pa.Array:
        """Returns the flat values of a feature without nulls."""
        representation = self._config.tensor_representations[feature]
        kind = representation.WhichOneof("kind")
        if kind == "varlen_sparse_tensor":
            name = representation.varlen_sparse_tensor.column_name
            return flat_values(batch.column(name), name)
        if kind == "dense_tensor" and not representation.dense_tensor.HasField("default_value"):
            dense = representation.dense_tensor
            values = flat_values(batch.column(dense.column_name), dense.column_name)
            if len(values) == batch.num_rows * int(np.prod([each.size for each in dense.shape.dim], dtype=np.int64)):
                return values
        tensor = self._tensors(batch, (feature,))[feature]
        array = _flat(tensor)
        return pa.array(array, pa.binary()) if array.dtype == object else pa.array(array)

    def arrays(self, batch: pa.RecordBatch, wanted: Sequence[tuple[str, int]]) -> list[Any]:
        """Returns one array a wanted (feature, component); strings of dense and sparse tensors as `Strings`."""
        features = sorted({feature for feature, _ in wanted})
        converted: dict[str, list[Any]] = {}
        for feature in features:
            layout = _string_layout(self._config.tensor_representations[feature], batch)
            if layout is not None:
                converted[feature] = components(batch, layout)
        others = tuple(feature for feature in features if feature not in converted)
        if others:
            tensors = self._tensors(batch, others)
            converted.update((feature, _components(tensors[feature])) for feature in others)
        return [converted[feature][component] for feature, component in wanted]

    def columns_of(self, feature: str) -> tuple[str, ...]:
        """Returns nothing: such batches come whole."""
        return ()

    def description(self, feature: str) -> str:
        """Returns TFX's representation of the tensor with the schema of the batches."""
        return f"{self._config.tensor_representations[feature]}{self._config.arrow_schema}"

    def _tensors(self, batch: pa.RecordBatch, features: tuple[str, ...]) -> Any:
        if features not in self._adapters:
            from tfx_bsl.tfxio.tensor_adapter import TensorAdapter, TensorAdapterConfig

            kept = {name: self._config.tensor_representations[name] for name in features}
            self._adapters[features] = TensorAdapter(TensorAdapterConfig(self._config.arrow_schema, kept))
        return self._adapters[features].ToBatchTensors(batch, produce_eager_tensors=False)


def _string_layout(representation: Any, batch: pa.RecordBatch) -> FeatureLayout | None:
    """How a plain tensor of strings lies in a batch, or None for others: TFX's adapter makes a Python object of each string."""
    kind = representation.WhichOneof("kind")
    if kind == "varlen_sparse_tensor":
        name, layout_kind, shape = representation.varlen_sparse_tensor.column_name, "sparse", ()
    elif kind == "dense_tensor" and not representation.dense_tensor.HasField("default_value"):
        dense = representation.dense_tensor
        name, layout_kind, shape = dense.column_name, "dense", tuple(dim.size for dim in dense.shape.dim)
    else:
        return None
    column = batch.column(name)
    if not _is_list_of_strings(column.type) or (layout_kind == "dense" and column.null_count):
        return None
    return FeatureLayout(name=name, kind=layout_kind, dtype="object", shape=shape)


def _is_list_of_strings(data_type: pa.DataType) -> bool:
    if not is_variable_list(data_type):
        return False
    value = data_type.value_type
    return any(is_kind(value) for is_kind in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_string))


def _components(value: Any) -> list[Any]:
    if hasattr(value, "dense_shape"):
        return [value.indices, value.values, value.dense_shape]
    if hasattr(value, "flat_values"):
        return [value.flat_values, *value.nested_row_splits]
    return [value]


def _flat(value: Any) -> np.ndarray:
    parts = _components(value)
    return np.asarray(parts[1] if hasattr(value, "dense_shape") else parts[0]).reshape(-1)
