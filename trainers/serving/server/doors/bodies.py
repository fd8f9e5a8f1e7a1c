"""Bodies of REST requests: unpacked, parsed, and made into serialized examples."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
from starlette.requests import Request

from trainers.serving.server.doors.tensors import decoded_base64, is_base64
from trainers.serving.server.errors import InvalidRequest

__all__ = ["examples_of", "unpacked", "word_of"]

_MOST_FLOAT = float(np.finfo(np.float32).max)


def unpacked(body: bytes, request: Request, limit: int) -> bytes:
    """Returns the body as it was before the client packed it.

    Raises:
        InvalidRequest: it is packed in another way, is damaged, or is larger than it may be once it is unpacked.
    """
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):  # the same (RFC 9110)
        raise InvalidRequest(f"content-encoding: got {encoding!r}; expected gzip, or none")
    unpacker = zlib.decompressobj(31)
    try:
        out = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidRequest(f"the body is not what its content-encoding says, gzip: {error}") from None
    if len(out) > limit:
        raise InvalidRequest(f"the body is larger than {limit} bytes once it is unpacked")
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidRequest("the body is not one whole gzip stream")
    return out


def word_of(body: dict[str, Any], key: str) -> str:
    """Returns the string of a key of a body, '' where it has none.

    Raises:
        InvalidRequest: it is no string.
    """
    value = body.get(key, "")
    if not isinstance(value, str):
        raise InvalidRequest(f"{key!r}: got {value!r}; expected a string")
    return value


def examples_of(body: dict[str, Any]) -> list[bytes]:
    """Serialized examples of `examples` and `context`, objects of features.

    Raises:
        InvalidRequest: they are not such objects.
    """
    import tensorflow as tf

    context, rows = body.get("context", {}), body.get("examples")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in [*rows, context]):
        raise InvalidRequest("'examples': expected a list of one or more objects, each a feature's value by name")
    out = []
    for position, row in enumerate(rows):
        example = tf.train.Example()
        for name, value in {**context, **row}.items():
            _add_feature(example.features.feature[name], name, value, position)
        out.append(example.SerializeToString())
    return out


def _add_feature(feature: Any, name: str, value: Any, position: int) -> None:
    values = value if isinstance(value, list) else [value]
    try:
        if all(isinstance(each, int) for each in values):
            feature.int64_list.value.extend(values)
        elif all(isinstance(each, int | float) for each in values):
            if any(math.isfinite(each) and abs(each) > _MOST_FLOAT for each in values):
                raise ValueError
            feature.float_list.value.extend(values)
        else:
            feature.bytes_list.value.extend(_as_bytes(each) for each in values)
    except (TypeError, ValueError, KeyError):
        raise InvalidRequest(
            f"example {position}, feature {name!r}: got {value!r}; expected int64, float32 or strings"
        ) from None


def _as_bytes(value: Any) -> bytes:
    if is_base64(value):
        return decoded_base64(value["b64"])
    if isinstance(value, str):
        return value.encode()
    raise TypeError
