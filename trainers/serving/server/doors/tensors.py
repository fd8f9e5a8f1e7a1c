"""Tensors on the wire: TensorProto and TensorFlow Serving's JSON, from and to NumPy."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainers.serving.server.errors import InvalidRequest
from trainers.serving.server.packed import predictions_json
from trainers.serving.server.signatures import Signature, TensorSpec

__all__ = ["as_written", "decoded_base64", "from_json", "from_proto", "is_base64", "text_of", "to_json", "to_proto"]

_MOST_DIMS = 64  # NumPy's limit; the product of many more sizes would take hours
_REPEATED_BYTES = 1 << 20  # of an array whose values were not all sent


def from_proto(name: str, proto: Any, max_bytes: int) -> np.ndarray:
    """Returns a tensor of a request; where it has fewer values than its shape, the last one is repeated, as TensorFlow does.

    Args:
        name: of the input, for errors.
        proto: the tensor as it came.
        max_bytes: of a request.

    Raises:
        InvalidRequest: its values do not fit its shape, it has no such type, or its array would be far larger than what was sent.
    """
    import tensorflow as tf

    dims = proto.tensor_shape.dim
    if len(dims) > _MOST_DIMS:
        raise InvalidRequest(f"input {name!r}: the shape has {len(dims)} dimensions; expected at most {_MOST_DIMS}")
    sizes = [dim.size for dim in dims]
    try:
        _check_size(name, proto, sizes, max_bytes)
        elements = math.prod(sizes)
        if proto.dtype == tf.string.as_datatype_enum and len(proto.string_val) == elements:
            out = np.empty(elements, object)
            out[:] = list(proto.string_val)
            return out.reshape(sizes)
        _check_count(name, proto, sizes, elements)
        if proto.dtype == tf.string.as_datatype_enum and not proto.string_val:
            return np.full(sizes, b"", object)  # `make_ndarray` would give texts
        return np.asarray(tf.make_ndarray(proto))
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidRequest(f"input {name!r}: {error}") from None


def _check_size(name: str, proto: Any, sizes: list[int], max_bytes: int) -> None:
    """Refuses a tensor before an array of its size is made: a shape costs a client a few bytes."""
    import tensorflow as tf

    given = len(proto.tensor_content) or proto.ByteSize()
    each = max(tf.as_dtype(proto.dtype).size or 1, 1)
    elements = math.prod(sizes)
    if proto.string_val and len(proto.string_val) < elements:
        each = max(each, len(proto.string_val[-1]))  # is repeated
    # A small number takes a byte of a message and eight of an array.
    limit = max(8 * given, min(max_bytes, _REPEATED_BYTES))
    if any(size < 0 for size in sizes) or elements * each > limit:
        raise InvalidRequest(
            f"input {name!r}: the shape {sizes} has {elements} elements of {each} bytes; expected sizes of 0 or more and at most "
            f"{limit} bytes in all, for the {given} bytes of its values that were sent"
        )


_WHITE_SPACE = dict.fromkeys(map(ord, " \t\n\v\f\r"))
_FIELDS = {
    "float32": "float_val",
    "float64": "double_val",
    "int64": "int64_val",
    "bool": "bool_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    **dict.fromkeys(("int8", "uint8", "int16", "uint16", "int32"), "int_val"),
}
_VIEWS = {  # types whose field has numbers of another one
    "float16": ("half_val", np.uint16),
    "bfloat16": ("half_val", np.uint16),
    "complex64": ("scomplex_val", np.float32),
    "complex128": ("dcomplex_val", np.float64),
}


def _check_count(name: str, proto: Any, sizes: list[int], elements: int) -> None:
    """Refuses values that do not fit the shape, of which TensorFlow takes the first without a word; fewer are for it to repeat."""
    import tensorflow as tf

    dtype = tf.as_dtype(proto.dtype)
    if proto.tensor_content:
        if dtype.size and len(proto.tensor_content) != elements * dtype.size:
            raise InvalidRequest(
                f"input {name!r}: tensor_content has {len(proto.tensor_content)} bytes; {elements * dtype.size} expected for {dtype.name} "
                f"of shape {sizes}"
            )
        if not dtype.size or dtype == tf.string:
            raise InvalidRequest(
                f"input {name!r}: {dtype.name} has its values in tensor_content; expected in string_val"
            )
        return
    field = "string_val" if dtype == tf.string else _FIELDS.get(dtype.name) or _VIEWS.get(dtype.name, ("",))[0]
    given = len(getattr(proto, field)) // (2 if dtype.is_complex else 1) if field else 0
    if given > elements:
        raise InvalidRequest(
            f"input {name!r}: {given} values of shape {sizes}; expected {elements}, or fewer to repeat the last"
        )


def to_proto(array: np.ndarray) -> Any:
    """Returns a tensor of an answer, its values in the fields of its type, as TensorFlow Serving writes them."""
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    kind = array.dtype.name
    proto = tensor_pb2.TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.dtype == object:
        values = array.reshape(-1).tolist()
        proto.string_val.extend(value if isinstance(value, bytes) else str(value).encode() for value in values)
    elif kind in _FIELDS:
        getattr(proto, _FIELDS[kind]).extend(array.reshape(-1).tolist())
    elif kind in _VIEWS:
        field, as_type = _VIEWS[kind]
        getattr(proto, field).extend(np.ascontiguousarray(array).reshape(-1).view(as_type).tolist())
    else:
        return tf.make_tensor_proto(array)
    return proto


def from_json(body: Any, signature: Signature) -> tuple[dict[str, np.ndarray], bool]:
    """Returns the inputs of a `:predict` body and whether it is in row format (`instances`), else columns (`inputs`).

    Raises:
        InvalidRequest: the body has neither or both, or a value does not fit its input.
    """
    if not isinstance(body, Mapping):
        raise InvalidRequest("JSON Value is not an object; expected {'instances': [...]} or {'inputs': ...}")
    rows, columns = "instances" in body, "inputs" in body
    if rows == columns:
        raise InvalidRequest("JSON body: expected one of 'instances' (rows) and 'inputs' (columns)")
    names = list(signature.inputs)
    if columns:
        value = body["inputs"]
        single = len(names) == 1 and (is_base64(value) or not isinstance(value, Mapping))
        by_name = {names[0]: value} if single else value
        if not isinstance(by_name, Mapping):
            raise InvalidRequest(f"'inputs': expected an object with {', '.join(names)}")
        by_name = {name: by_name[name] for name in names if name in by_name}  # TensorFlow Serving looks at no other
    else:
        by_name = _columns(body["instances"], names)
    unknown = sorted(set(by_name) - set(names))
    if unknown:
        raise InvalidRequest(f"JSON object: has no tensor {', '.join(unknown)}; expected {', '.join(names)}")
    return {name: _from_value(name, value, signature.inputs[name]) for name, value in by_name.items()}, rows


def _columns(instances: Any, names: list[str]) -> dict[str, list[Any]]:
    if not isinstance(instances, list) or not instances:
        seen = (
            "an empty list" if isinstance(instances, list) else f"a {type(instances).__name__}"
        )  # its text may be large
        raise InvalidRequest(f"'instances': got {seen}; expected a list of one or more rows")
    named = isinstance(instances[0], Mapping) and not is_base64(instances[0])
    if not named:
        if len(names) != 1:
            raise InvalidRequest(f"'instances': rows must be objects with {', '.join(names)}")
        return {names[0]: instances}
    columns: dict[str, list[Any]] = {name: [] for name in instances[0]}
    for position, row in enumerate(instances):
        if not isinstance(row, Mapping) or set(row) != set(columns):
            raise InvalidRequest(f"'instances': row {position} has other tensors than the first: {', '.join(columns)}")
        for name, value in row.items():
            columns[name].append(value)
    return columns


def is_base64(value: Any) -> bool:
    """As to TensorFlow Serving: a string under `b64`, and nothing beside it; else it is an object of tensors."""
    return isinstance(value, Mapping) and set(value) == {"b64"} and isinstance(value["b64"], str)


def decoded_base64(text: str) -> bytes:
    """Returns what a text of base64 says; as to TensorFlow Serving white space is nothing, `.` pads as `=` does, and no padding is needed.

    Raises:
        ValueError: it is no base64, or its padding is of another length.
    """
    text = text.translate(_WHITE_SPACE)
    digits = text.rstrip("=.")
    missing = -len(digits) % 4
    if len(text) - len(digits) not in (0, missing):
        raise ValueError
    return base64.b64decode(digits + "=" * missing, validate=True)


def _from_value(name: str, value: Any, spec: TensorSpec) -> np.ndarray:
    if spec.is_string:
        try:
            value = _decoded(name, value)
            shape = np.shape(_sized(value))
        except ValueError:
            raise InvalidRequest(f"input {name!r}: rows differ in their lengths") from None
        except RecursionError:
            raise InvalidRequest(f"input {name!r}: lists lie too deep in each other") from None
        flat: np.ndarray = np.empty(math.prod(shape), object)
        flat[:] = list(_leaves(value))
        return flat.reshape(shape)
    wanted = "f" if spec.dtype.name == "bfloat16" else spec.dtype.kind  # which NumPy itself does not know
    if wanted != "b" and any(isinstance(each, bool) for each in _leaves(value)):  # 1 and 0 to NumPy
        raise InvalidRequest(f"input {name!r}: got true or false; expected {spec.dtype.name}")
    try:
        if wanted == "f" and any(isinstance(each, str) for each in _leaves(value)):
            value = _with_named(value)
        array = np.array(value)
        if wanted == "f" and array.dtype == object and all(isinstance(each, int | float) for each in _leaves(value)):
            array = np.array(value, np.float64)  # integers beyond 64 bits
        elif wanted in "iu" and array.dtype.kind in "fO" and all(isinstance(each, int) for each in _leaves(value)):
            array = np.array(value, spec.dtype)  # some below and some above 2^63, of which NumPy makes float64
    except ValueError:
        raise InvalidRequest(f"input {name!r}: rows differ in their lengths") from None
    except OverflowError:
        raise InvalidRequest(f"input {name!r}: a number does not fit {spec.dtype.name}") from None
    kind = array.dtype.kind
    # As TensorFlow Serving: an integer is taken for a floating-point number, but not the reverse.
    if not array.size or (kind == wanted) or (kind in "iu" and wanted in "iuf"):
        with np.errstate(over="ignore"):
            out = array.astype(spec.dtype)
        exact = kind not in "iu" or wanted not in "iu" or np.array_equal(out, array)
        if not exact or (wanted == "f" and (np.isinf(out) & ~np.isinf(array)).any()):
            raise InvalidRequest(f"input {name!r}: a number does not fit {spec.dtype.name}")
        return out
    raise InvalidRequest(f"input {name!r}: got {_kind_of(value, array)}; expected {spec.dtype.name}")


def _kind_of(value: Any, array: np.ndarray) -> str:
    """What a client is told of values that are not what was expected: of texts NumPy says how many characters the longest has."""
    other = next((each for each in _leaves(value) if not isinstance(each, int | float)), 0)
    if isinstance(other, str):
        return f"the text {other[:40]!r}"
    return "null" if other is None else "an object" if isinstance(other, Mapping) else array.dtype.name


def _with_named(value: Any) -> Any:
    """The same lists with numbers in place of their names; others that are no numbers stay as they are."""
    if isinstance(value, list):
        return [_with_named(each) for each in value]
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


def _decoded(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(name, each) for each in value]
    if isinstance(value, Mapping):
        try:
            if not is_base64(value):
                raise TypeError
            return decoded_base64(value["b64"])
        except (TypeError, ValueError):
            raise InvalidRequest(f"input {name!r}: an object must be {{'b64': BASE64}}") from None
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(f"input {name!r}: got half of a surrogate pair; expected text") from None
    raise InvalidRequest(f"input {name!r}: got {type(value).__name__}; expected a string")


def _leaves(value: Any) -> Any:
    if isinstance(value, list):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def _sized(value: Any) -> Any:
    return [_sized(each) for each in value] if isinstance(value, list) else 0


def text_of(name: str, value: Any) -> str:
    """Returns a string of an output as text.

    Raises:
        InvalidRequest: it is not UTF-8: any text would be another value than the model's.
    """
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise InvalidRequest(
            f"output {name!r} has bytes that are not UTF-8; ask for it over gRPC, or export it under a name that ends with _bytes"
        ) from None


def to_json(outputs: Mapping[str, np.ndarray], rows: bool) -> dict[str, Any]:
    """Returns the body of an answer: `predictions` row by row, or `outputs` by column.

    Values of outputs whose name ends with `_bytes` are base64; a lone output has no name.

    Raises:
        InvalidRequest: rows are asked for, and the outputs have none or not equally many; JSON has no form for a value.
    """
    if rows and (len({value.shape[:1] for value in outputs.values()}) > 1 or any(not v.ndim for v in outputs.values())):
        sizes = ", ".join(f"{name} {list(value.shape)}" for name, value in outputs.items())
        raise InvalidRequest(
            f"outputs have no rows, or differ in their number: {sizes}; ask with 'inputs' in place of 'instances'"
        )
    columns = {name: _to_value(name, value) for name, value in outputs.items()}
    if not rows:
        return {"outputs": next(iter(columns.values())) if len(columns) == 1 else columns}
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    return {"predictions": [dict(zip(columns, row)) for row in zip(*columns.values())]}


def as_written(array: np.ndarray) -> Any:
    """Returns the numbers of a tensor in nested lists, those of float32 as what its fewest digits say: 0.1, not 0.10000000149011612."""
    if array.dtype == np.float64 or array.dtype.kind in "biu":
        return array.tolist()
    texts = predictions_json({"": array.astype(np.float32)[None]}, [(0, 1)])
    assert texts is not None, "it writes numbers"
    return json.loads(texts[0])["predictions"][0]


def _to_value(name: str, array: np.ndarray) -> Any:
    if array.dtype.kind == "c":
        raise InvalidRequest(f"output {name!r} is of {array.dtype.name}, which JSON has no form for; ask over gRPC")
    if array.dtype != object:
        return as_written(array)
    encode = name.endswith("_bytes")

    def value(each: Any) -> Any:
        if isinstance(each, list):
            return [value(inner) for inner in each]
        if encode:
            return {"b64": base64.b64encode(each).decode()}
        return text_of(name, each)

    return value(array.tolist())
