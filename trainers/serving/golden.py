"""The golden set of a version: what it makes of a few raw rows, held to what the transform made of them when it was exported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError, DataError
from trainers.export.samples import GOLDEN_EXAMPLES, GOLDEN_FEATURES
from trainers.serving.requests import well_formed

__all__ = ["MODES", "check_golden"]

MODES = ("exact", "close", "off")
_CLOSE = 1e-6  # relative and absolute


def check_golden(loaded: Any, version: str | os.PathLike[str], mode: str = "exact") -> int:
    """Returns how many rows were compared; 0 for a version without a golden set.

    Args:
        loaded: what `tf.saved_model.load` returned.
        version: its directory.
        mode: "exact" compares byte by byte; "close" lets floats differ by 1e-6, for a server whose processor rounds
            transcendental functions otherwise than the one that exported; "off" does nothing.

    Raises:
        ConfigError: an unknown mode.
        DataError: a feature differs, or the set is damaged: the version would not answer as its model was trained.
    """
    if mode not in MODES:
        raise ConfigError(f"golden: got {mode!r}; expected one of {', '.join(MODES)}")
    examples, features = Path(version, GOLDEN_EXAMPLES), Path(version, GOLDEN_FEATURES)
    if mode == "off" or not (examples.exists() or features.exists()):
        return 0
    rows, expected = _read(examples, features)
    if "transform_features" not in loaded.signatures:
        raise DataError(
            "has a golden set but no signature transform_features; export the model again", path=str(version)
        )
    import tensorflow as tf

    served = loaded.signatures["transform_features"](examples=tf.constant(rows, tf.string))
    for name, tensor in sorted(served.items()):
        if name not in expected:
            raise DataError(
                f"golden set: the transform gave no feature {name!r} that the model computes", path=str(version)
            )
        try:
            _compare(name, tensor.numpy(), expected[name], mode, str(version))
        except (pa.ArrowException, ValueError, TypeError) as error:  # values of another kind than the feature's
            raise DataError(f"golden set: feature {name!r} cannot be compared: {error}", path=str(version)) from error
    return len(rows)


def _read(examples: Path, features: Path) -> tuple[list[bytes], dict[str, Any]]:
    import pyarrow.parquet as pq
    import tensorflow as tf

    try:
        rows = well_formed(tf.data.TFRecordDataset(str(examples)).as_numpy_iterator())
        table = pq.read_table(features)
    except Exception as error:  # whatever was cut or flipped
        raise DataError(f"golden set: cannot be read: {error}", path=str(examples.parent)) from None
    return rows, {name: table[name].combine_chunks() for name in table.column_names}


def _compare(name: str, served: np.ndarray, column: Any, mode: str, path: str) -> None:
    from engine.schema.lists import is_list

    while is_list(column.type):
        column = column.flatten()
    if served.dtype == object:
        wanted: np.ndarray = np.empty(len(column), object)
        wanted[:] = [value.encode() if isinstance(value, str) else value for value in column.to_pylist()]
    else:
        wanted = column.to_numpy(zero_copy_only=False).astype(served.dtype, copy=False)
    flat = served.reshape(-1)
    if flat.size != wanted.size:
        raise DataError(
            f"golden set: feature {name!r} has {flat.size} values, the transform gave {wanted.size}", path=path
        )
    differs = _differs(flat, wanted, mode)
    if differs.any():
        at = int(np.flatnonzero(differs)[0])
        a_row = max(1, flat.size // max(1, served.shape[0]))
        raise DataError(
            f"golden set: served feature {name!r} is {flat[at]!r}, the transform gave {wanted[at]!r}: the model would not answer "
            "as it was trained; export it again (or serve with --golden close, where only the processor differs)",
            path=path,
            record=at // a_row,
        )


def _differs(served: np.ndarray, wanted: np.ndarray, mode: str) -> np.ndarray:
    if served.dtype.kind == "f" and mode == "close":
        far: np.ndarray = ~np.isclose(served, wanted, rtol=_CLOSE, atol=_CLOSE, equal_nan=True)
        return far
    if served.dtype == object:
        return np.asarray(served != wanted)
    size = served.dtype.itemsize
    # Bytes, not values: -0.0 is not 0.0 here, and a NaN equals the same NaN.
    left, right = (np.ascontiguousarray(a).view(np.uint8).reshape(-1, size) for a in (served, wanted))
    return np.asarray((left != right).any(axis=1))
