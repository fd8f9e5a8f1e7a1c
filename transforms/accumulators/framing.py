"""Encoding of accumulator states: numpy arrays and JSON values as bytes, versioned, without pickle.

A frame (`engine.storage.frames`) whose blobs are the arrays' raw bytes. What carries a state has checksums of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.core.errors import DataError
from engine.core.json_text import parse_json
from engine.storage.frames import MALFORMED, Frame

__all__ = ["decode_state", "encode_state"]

_FRAME = Frame(
    magic=b"FPAS", version=2, name="an accumulator state", remedy="run the analysis again", checks_blobs=False
)
_FIRST = b"FPA1"  # of states in caches of earlier versions: then uint32 length of a JSON header, the header, the arrays
_Arrays = list[tuple[list[Any], memoryview]]


def encode_state(name: str, version: int, arrays: Mapping[str, Any], values: Mapping[str, Any] | None = None) -> bytes:
    """Returns arrays and JSON-able values as bytes.

    Args:
        name: accumulator's name.
        version: of its encoding.
        arrays: numpy arrays by key; object arrays hold bytes.
        values: anything that JSON holds, by key.
    """
    blobs = []
    for key, value in arrays.items():
        array = np.asarray(value)
        if array.dtype == object:
            flat = [bytes(item) for item in array.reshape(-1)]
            lengths = np.fromiter(map(len, flat), np.int64, len(flat))
            data = lengths.tobytes() + b"".join(flat)
            blobs.append(([key, "bytes", list(array.shape)], data))
        else:
            data = np.ascontiguousarray(array).tobytes()
            blobs.append(([key, _spelled(array.dtype), list(array.shape)], data))
    return b"".join(_FRAME.pack({"name": name, "version": version, "values": dict(values or {})}, blobs))


def decode_state(name: str, version: int, blob: bytes | memoryview) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns what `encode_state` was given: (arrays, values). The arrays own their memory.

    Raises:
        DataError: when the bytes are damaged or of another accumulator or version.
    """
    try:
        facts, blobs = _first_layout(blob) if blob[:4] == _FIRST else _FRAME.unpack(blob)
        arrays = {key: _decode_array(data, dtype, shape) for (key, dtype, shape), data in blobs}
        found, values = (facts["name"], facts["version"]), facts["values"]
    except (DataError, struct.error, *MALFORMED) as error:
        why = error if isinstance(error, DataError) else _FRAME.damaged(error)
        raise DataError(f"these {len(blob)} bytes are not an accumulator state: {why}") from error
    if found != (name, version):
        raise DataError(
            f"expected a state of accumulator {name!r} version {version}, got {found[0]!r} version {found[1]}: "
            "it was written by another version of Fullpass; run the analysis again"
        )
    return arrays, values


def _spelled(dtype: np.dtype[Any]) -> str:
    """The dtype as text; bfloat16 and its like, which numpy spells as plain bytes, by their names."""
    return dtype.str if np.dtype(dtype.str) == dtype else dtype.name


def _dtype(text: str) -> np.dtype[Any]:
    try:
        return np.dtype(text)
    except TypeError:
        import ml_dtypes  # numpy knows its names from here on

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, text))
        return found


def _first_layout(blob: bytes | memoryview) -> tuple[dict[str, Any], _Arrays]:
    (length,) = struct.unpack_from("<I", blob, 4)
    facts, view, at = parse_json(bytes(blob[8 : 8 + length])), memoryview(blob), 8 + length
    arrays: _Arrays = []
    for *label, size in facts.pop("arrays"):
        arrays.append((label, view[at : at + size]))
        at += size
    return facts, arrays


def _decode_array(data: bytes | memoryview, dtype: str, shape: list[int]) -> np.ndarray:
    if dtype != "bytes":
        return np.frombuffer(data, _dtype(dtype)).reshape(shape).copy()
    count = int(np.prod(shape, dtype=np.int64))
    ends = np.cumsum(np.frombuffer(data, np.int64, count)) + 8 * count
    array: np.ndarray = np.empty(count, object)
    start = 8 * count
    for index, end in enumerate(ends.tolist()):
        array[index] = bytes(data[start:end])
        start = end
    return array.reshape(shape)
