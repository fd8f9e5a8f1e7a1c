"""What accumulators take: numpy arrays, or Arrow arrays of columns that never entered TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["as_numpy"]


def as_numpy(values: Any) -> np.ndarray:
    """Returns an array as numpy's, without a copy where Arrow allows it."""
    array: np.ndarray = values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values
    return array
