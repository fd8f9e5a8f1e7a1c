"""The private parts of `tensorflow_transform.beam` that ours shares; imports Beam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorflow_transform.beam import analyzer_impls
from tensorflow_transform.beam import impl as tft_impl

from transforms.tft.versions import require

__all__ = ["RunGraph", "instance_dicts_to_batches", "join_boundary_rows"]

require(tft_impl, "_InstanceDictInputToTFXIOInput", "_RunMetaGraphDoFn")
require(analyzer_impls, "_join_boundary_rows")

RunGraph: Any = tft_impl._RunMetaGraphDoFn


def instance_dicts_to_batches(schema: Any, desired_batch_size: int | None) -> Any:
    """Returns TFT's PTransform from dictionaries, one a record, to record batches; it knows their `tensor_adapter_config()`."""
    return tft_impl._InstanceDictInputToTFXIOInput(schema, desired_batch_size)


def join_boundary_rows(rows: Any) -> Sequence[Any]:
    """Returns the boundaries of all keys joined to one array, each key's scale and shift, and the number of buckets.

    Args:
        rows: [keys, boundaries].
    """
    joined: Sequence[Any] = analyzer_impls._join_boundary_rows(rows)
    return joined
