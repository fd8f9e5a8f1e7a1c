"""Messages of gRPC that are read natively, held to protobuf and the reader in Python; answers that are written natively, to protobuf."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import model_pb2, predict_pb2

from engine.core.errors import DataError
from tests.support.examples import changed_messages
from tests.support.served_model import CRASH, example, rows
from trainers.serving.server.doors.tensors import from_proto, to_proto
from trainers.serving.server.errors import InvalidRequest
from trainers.serving.server.packed import arrays_of, message_spec, outputs_message, request_reader
from trainers.serving.server.signatures import Signature, TensorSpec

MOST_ROWS = 40
LIMIT = 1 << 20
# On a busy machine a TensorFlow call while values are drawn takes as long as it takes.
untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _spec(dtype, *dims):
    return TensorSpec(np.dtype(object) if dtype == "string" else np.dtype(dtype), tf.as_dtype(dtype), (None, *dims))


KINDS = {"f": ("float32",), "d": ("float64", 2), "i": ("int32",), "l": ("int64", None), "s": ("string", 1)}
SIGNATURES = {
    "serving_default": Signature(
        "serving_default", {"examples": _spec("string")}, {"y": _spec("float32")}, None, parsed=frozenset({"examples"})
    ),
    "many": Signature("many", {name: _spec(*kind) for name, kind in KINDS.items()}, {"y": _spec("float32")}, None),
}
READER = request_reader(SIGNATURES)


def _by_protobuf(body, signature):
    """Arrays and rows that the other reader makes of a message; None where it refuses."""
    try:
        message = predict_pb2.PredictRequest.FromString(body)
        tensors = {name: from_proto(name, value, LIMIT) for name, value in message.inputs.items()}
        return SIGNATURES[signature].checked(tensors, MOST_ROWS)
    except (DecodeError, InvalidRequest, DataError):
        return None


def _compare(body, signature):
    """Whether a message is read natively; then it is what protobuf reads."""
    packed = READER.read_message(body, signature, MOST_ROWS)
    try:
        spec = model_pb2.ModelSpec.FromString(message_spec(body) or b"\0")
    except DecodeError:
        return False
    if packed is None:
        return False
    message = predict_pb2.PredictRequest.FromString(body)
    assert spec == message.model_spec and not message.output_filter
    arrays, count = _by_protobuf(body, signature)
    assert (packed.signature, packed.rows) == (signature, count)
    for name, got in arrays_of(packed).items():
        assert got.dtype == arrays[name].dtype and got.shape == arrays[name].shape
        assert got.tolist() == arrays[name].tolist() if got.dtype == object else got.tobytes() == arrays[name].tobytes()
    return True


def _message(arrays, in_fields):
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "m"
    for name, array in arrays.items():
        message.inputs[name].CopyFrom(to_proto(array) if in_fields else tf.make_tensor_proto(array))
    return message


def _arrays(count, draw=None):
    rng = np.random.default_rng(count)
    words = np.empty((count, 1), object)
    words[:, 0] = [draw(st.binary(max_size=4)) if draw else b"w%d" % i for i in range(count)]
    return {
        "f": rng.normal(size=count).astype(np.float32),
        "d": np.array([[np.nan, -np.inf]] * count),
        "i": np.array([-(1 << 31), (1 << 31) - 1, -1] * count, np.int32)[:count],
        "l": np.array([[1 << 62, -1, 0]] * count),
        "s": words,
    }


@pytest.mark.parametrize("in_fields", [True, False])
@pytest.mark.parametrize("count", [1, 3, MOST_ROWS])
def test_ordinary_messages_are_read_natively(count, in_fields):
    assert _compare(_message(_arrays(count), in_fields).SerializeToString(), "many")
    examples = np.array([*(example(row) for row in rows(count)), None], object)[:-1]
    assert _compare(_message({"examples": examples}, in_fields).SerializeToString(), "serving_default")


@untimed
@given(st.data())
def test_what_is_read_natively_is_what_protobuf_reads(data):
    draw = data.draw
    message = _message(_arrays(draw(st.integers(1, 3)), draw), draw(st.booleans()))
    _compare(draw(changed_messages(message.SerializeToString(), least=1)), "many")


def _changed(change):
    message = _message(_arrays(3), True)
    change(message)
    return message.SerializeToString()


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.output_filter.append("y"),
        lambda m: m.inputs["f"].float_val.append(1.0),  # more values than the shape has
        lambda m: m.inputs["f"].float_val.pop(),  # fewer: protobuf's reader repeats the last
        lambda m: setattr(m.inputs["f"], "tensor_content", b"0" * 12),  # besides the values
        lambda m: setattr(m.inputs["f"], "dtype", 2),
        lambda m: m.inputs["d"].tensor_shape.dim.pop(),
        lambda m: setattr(m.inputs["d"].tensor_shape.dim[1], "size", 1 << 62),
        lambda m: setattr(m.inputs["d"].tensor_shape.dim[0], "size", -1),
        lambda m: setattr(m.inputs["l"].tensor_shape.dim[1], "name", "x"),
        lambda m: setattr(m.inputs["l"].tensor_shape, "unknown_rank", True),
        lambda m: m.inputs["f"].tensor_shape.dim.pop(),
        lambda m: m.inputs.pop("s"),
        lambda m: m.inputs["x"].CopyFrom(m.inputs["f"]),
        lambda m: m.inputs["f"].CopyFrom(to_proto(np.zeros(2, np.float32))),  # rows differ
        lambda m: [m.inputs[name].CopyFrom(to_proto(array)) for name, array in _arrays(MOST_ROWS + 1).items()],
        lambda m: m.ClearField("model_spec"),
        lambda m: m.inputs["s"].string_val.__setitem__(slice(None), [b""] * 4),
        lambda m: m.request_options.SetInParent() if hasattr(m, "request_options") else m.output_filter.append(""),
    ],
)
def test_what_may_mean_another_thing_is_left_to_protobuf(change):
    body = _changed(change)
    assert message_spec(body) is None or READER.read_message(body, "many", MOST_ROWS) is None


def test_examples_that_tensorflow_must_not_be_given_are_left_to_the_other_reader():
    body = _message({"examples": np.array([CRASH], object)}, True).SerializeToString()
    assert READER.read_message(body, "serving_default", MOST_ROWS) is None
    assert READER.read_message(body, "none", MOST_ROWS) is None


def test_requests_in_json_and_messages_join():
    one = READER.read(b'{"instances": [{"b64": ""}]}', 1)
    other = READER.read_message(
        _message({"examples": np.array([b""], object)}, True).SerializeToString(), "serving_default", 1
    )
    assert one.joins(other)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "bool"])
@pytest.mark.parametrize("dims", [(), (2,), (0,), (2, 3)])
def test_answers_are_those_that_protobuf_writes(dtype, dims):
    values = np.random.default_rng(1).integers(-5, 5, (5, *dims)).astype(dtype)
    outputs = {"y": values, "ü": values[:, ...].copy()}
    for (first, last), got in zip([(0, 1), (1, 5), (2, 2)], outputs_message(outputs, [(0, 1), (1, 5), (2, 2)])):
        wanted = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            wanted.outputs[name].CopyFrom(to_proto(value[first:last]))
        assert predict_pb2.PredictResponse.FromString(got) == wanted
    assert outputs_message({"y": np.array([b"a"], object)}, [(0, 1)]) is None


@pytest.mark.parametrize(
    ("dtype", "field"),
    [("bool", "bool_val"), ("int8", "int_val"), ("uint8", "int_val"), ("int16", "int_val"), ("uint16", "int_val"),
     ("uint32", "uint32_val"), ("uint64", "uint64_val"), ("float16", "half_val"), ("bfloat16", "half_val"),
     ("complex64", "scomplex_val"), ("complex128", "dcomplex_val"), ("float32", "float_val"), ("int64", "int64_val")],
)  # fmt: skip
def test_values_of_every_type_are_in_its_field_as_tensorflow_writes_them(dtype, field):
    tensor = tf.cast([[0, 1, 2], [3, 4, 5]], dtype)
    proto = to_proto(tensor.numpy())
    count = 12 if field.endswith("complex_val") else 6
    assert len(getattr(proto, field)) == count and not proto.tensor_content and proto.dtype == tensor.dtype
    np.testing.assert_array_equal(tf.make_ndarray(proto), tensor.numpy())


def test_a_tensor_of_one_value_may_be_given_once_within_the_limit():
    wide = tf.make_tensor_proto(2.5, shape=[3, 1000])
    np.testing.assert_array_equal(from_proto("x", wide, LIMIT), np.full((3, 1000), 2.5, np.float32))
    for shape in ([1 << 40, 3], [3, LIMIT]):
        del wide.tensor_shape.dim[:]
        for size in shape:
            wide.tensor_shape.dim.add(size=size)
        with pytest.raises(InvalidRequest, match="elements"):
            from_proto("x", wide, LIMIT)


@pytest.mark.parametrize(
    ("kind", "sizes", "fields", "text"),
    [
        ("string", [1 << 23], {}, "8388608 elements"),
        ("float32", [2048, 2048], {"float_val": [1.0]}, "at most 1048576 bytes in all"),
        ("string", [1000], {"string_val": [b"a", b"b" * 300_000]}, "elements of 300000 bytes"),
        ("float32", [-1, -1], {}, "sizes of 0 or more"),
        ("float32", [1 << 62] * 65, {}, "65 dimensions; expected at most 64"),
        ("int8", [1], {"int_val": [300]}, "'x'"),
        ("float32", [2], {"float_val": [1.0, 2.0, 3.0]}, r"3 values of shape \[2\]; expected 2, or fewer"),
        ("string", [], {"string_val": [b"a", b"b"]}, r"2 values of shape \[\]; expected 1"),
        ("complex64", [1], {"scomplex_val": [1.0] * 4}, r"2 values of shape \[1\]"),
        ("bfloat16", [0], {"half_val": [1]}, r"1 values of shape \[0\]"),
    ],
)
def test_few_bytes_that_would_make_a_large_array_are_refused(kind, sizes, fields, text):
    proto = tf.make_tensor_proto([], kind)
    del proto.tensor_shape.dim[:]
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    for field, values in fields.items():
        getattr(proto, field).extend(values)
    with pytest.raises(InvalidRequest, match=text):
        from_proto("x", proto, 64 << 20)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("int64", 1), ("uint64", 1), ("float64", 1.5), ("complex128", 2j), ("bool", True), ("string", b"")],
)
def test_values_that_were_all_sent_are_taken_however_much_larger_the_array_is(kind, value):
    array = np.full(200_000, value, object if kind == "string" else kind)
    np.testing.assert_array_equal(from_proto("x", to_proto(array), 1 << 10), array)


@pytest.mark.parametrize(("kind", "size"), [("float32", 12), ("float32", 7), ("float32", 4), ("string", 4)])
def test_bytes_that_do_not_fill_a_tensor_are_refused_as_tensorflow_does(kind, size):
    proto = tf.make_tensor_proto([0, 0], shape=[2], dtype="float32")
    proto.tensor_content, proto.dtype = bytes(size), tf.as_dtype(kind).as_datatype_enum
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.parse_tensor(proto.SerializeToString(), kind)
    with pytest.raises(InvalidRequest, match=r"input 'x': .* expected"):
        from_proto("x", proto, LIMIT)


@pytest.mark.parametrize("kind", ["string", "float32", "complex64", "bool"])
def test_a_tensor_without_values_is_that_of_tensorflow(kind):
    proto = tf.make_tensor_proto(0.0, shape=[1])
    proto.Clear()
    proto.dtype = tf.as_dtype(kind).as_datatype_enum
    proto.tensor_shape.dim.add(size=2)
    expected = tf.io.parse_tensor(proto.SerializeToString(), kind).numpy().tolist()
    found = from_proto("x", proto, LIMIT).tolist()
    assert found == expected and type(found[0]) is type(expected[0])
