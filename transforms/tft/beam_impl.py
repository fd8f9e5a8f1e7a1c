"""The private parts of `tensorflow_transform.beam` that ours shares; imports Beam."""

from __future__ import annotations

from typing import Any

from tensorflow_transform.beam import impl as tft_impl

from transforms.tft.versions import require

__all__ = ["RunGraph", "instance_dicts_to_batches"]

require(tft_impl, "_InstanceDictInputToTFXIOInput", "_RunMetaGraphDoFn")

RunGraph: Any = tft_impl._RunMetaGraphDoFn


def instance_dicts_to_batches(schema: Any, desired_batch_size: int | None) -> Any:
    """Returns TFT's PTransform from dictionaries, one a record, to record batches; it knows their `tensor_adapter_config()`."""
    return tft_impl._InstanceDictInputToTFXIOInput(schema, desired_batch_size)
