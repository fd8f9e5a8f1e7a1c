"""Encoding of accumulator states: numpy arrays and JSON values as bytes, versioned, without pickle.

Layout: 4 bytes magic, uint32 length of a JSON header, the header, then the arrays' raw bytes one after another.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.core.errors import DataError
from engine.core.json_text import parse_json

__all__ = ["decode_state", "encode_state"]

_MAGIC = b"FPA1"


def encode_state(name: str, version: int, arrays: Mapping[str, Any], values: Mapping[str, Any] | None = None) -> bytes:
    """Returns arrays and JSON-able values as bytes.

    Args:
        name: accumulator's name.
        version: of its encoding.
        arrays: numpy arrays by key; object arrays hold bytes.
        values: anything that JSON holds, by key.
    """
    entries, buffers = [], []
    for key, value in arrays.items():
        array = np.asarray(value)
        if array.dtype == object:
            flat = [bytes(item) for item in array.reshape(-1)]
            lengths = np.fromiter(map(len, flat), np.int64, len(flat))
            data = lengths.tobytes() + b"".join(flat)
            entries.append([key, "bytes", list(array.shape), len(data)])
        else:
            data = np.ascontiguousarray(array).tobytes()
            entries.append([key, array.dtype.str, list(array.shape), len(data)])
        buffers.append(data)
    header = json.dumps({"name": name, "version": version, "arrays": entries, "values": dict(values or {})}).encode()
    return b"".join([_MAGIC, struct.pack("<I", len(header)), header, *buffers])


def decode_state(name: str, version: int, blob: bytes | memoryview) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns what `encode_state` was given: (arrays, values). The arrays own their memory.

    Raises:
        DataError: when the bytes are damaged or of another accumulator or version.
    """
    try:
        if blob[:4] != _MAGIC:
            raise ValueError(f"they begin with {blob[:4]!r}, not {_MAGIC!r}")
        (length,) = struct.unpack_from("<I", blob, 4)
        header = parse_json(bytes(blob[8 : 8 + length]))
        arrays, offset = {}, 8 + length
        for key, dtype, shape, size in header["arrays"]:
            arrays[key] = _decode_array(blob[offset : offset + size], dtype, shape)
            offset += size
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise DataError(f"these {len(blob)} bytes are not an accumulator state: {error}") from error
    if (header["name"], header["version"]) != (name, version):
        raise DataError(
            f"expected a state of accumulator {name!r} version {version}, got {header['name']!r} version "
            f"{header['version']}: it was written by another version of Fullpass; run the analysis again"
        )
    return arrays, header["values"]


def _decode_array(data: bytes | memoryview, dtype: str, shape: list[int]) -> np.ndarray:
    if dtype != "bytes":
        return np.frombuffer(data, np.dtype(dtype)).reshape(shape).copy()
    count = int(np.prod(shape, dtype=np.int64))
    ends = np.cumsum(np.frombuffer(data, np.int64, count)) + 8 * count
    array: np.ndarray = np.empty(count, object)
    start = 8 * count
    for index, end in enumerate(ends.tolist()):
        array[index] = bytes(data[start:end])
        start = end
    return array.reshape(shape)
