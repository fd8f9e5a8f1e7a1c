"""Requests that are read natively, held to the reader in Python; answers that are written natively, to `json`."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.served_model import example, rows
from trainers.serving.server.doors.tensors import from_json
from trainers.serving.server.errors import InvalidRequest
from trainers.serving.server.packed import arrays_of, joined, predictions_json, request_reader
from trainers.serving.server.signatures import Signature, TensorSpec

MOST_ROWS = 40
# On a busy machine a TensorFlow call while values are drawn takes as long as it takes.
untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _spec(dtype, *dims):
    tf_dtype = tf.as_dtype(dtype)
    return TensorSpec(np.dtype(object) if dtype == "string" else np.dtype(dtype), tf_dtype, (None, *dims))


def _signature(name, inputs, outputs=None):
    parsed = frozenset(inputs) & {"examples"}
    return Signature(name, inputs, outputs or {"y": _spec("float32")}, None, parsed=parsed)


SIGNATURES = {
    "serving_default": _signature("serving_default", {"examples": _spec("string")}),
    "many": _signature(
        "many",
        {
            "f": _spec("float32"),
            "d": _spec("float64", 2),
            "i": _spec("int32"),
            "l": _spec("int64", None),
            "s": _spec("string"),
            "t": _spec("string", 1, 2),
        },
    ),
    "one": _signature("one", {"x": _spec("float32", 3)}),
    "words": _signature("words", {"w": _spec("string", 1)}),
}
READER = request_reader(SIGNATURES)


def _by_python(text):
    """The signature, the arrays and the rows that the other reader makes of a body; None where it refuses."""
    try:
        body = json.loads(text)
        wanted = SIGNATURES[body.get("signature_name") or "serving_default"]
        tensors, in_rows = from_json(body, wanted)
        assert in_rows
        return wanted, *wanted.checked(tensors, MOST_ROWS)
    except (InvalidRequest, ValueError, KeyError, AssertionError, AttributeError, TypeError):
        return None


def _compare(text):
    packed = READER.read(text, MOST_ROWS)
    if packed is None:
        return False
    wanted, arrays, count = _by_python(text)
    assert packed.signature == wanted.name and packed.rows == count
    for name, got in arrays_of(packed).items():
        assert got.dtype == arrays[name].dtype and got.shape == arrays[name].shape
        assert got.tolist() == arrays[name].tolist() and (
            got.dtype == object or got.tobytes() == arrays[name].tobytes()
        )
    return True


_numbers = st.one_of(st.integers(-(1 << 66), 1 << 66), st.integers(-5, 5), st.floats(width=64))
_words = st.one_of(
    st.text(max_size=4), st.builds(lambda b: {"b64": tf.io.encode_base64(b).numpy().decode()}, st.binary(max_size=4))
)
_odd = st.one_of(st.none(), st.booleans(), st.lists(_numbers, max_size=2), _words, _numbers)


def _row(draw, length):
    number = st.integers(-3, 1 << 54) | st.floats(-1e39, 1e39)
    row = {
        "f": draw(number),
        "d": [draw(number), draw(number)],
        "i": draw(st.integers(-(1 << 31) - 1, 1 << 31)),
        "l": draw(st.lists(st.integers(-(1 << 63) - 1, 1 << 63), min_size=length, max_size=length)),
        "s": draw(_words),
        "t": [[draw(_words), draw(_words)]],
    }
    return dict(draw(st.permutations(list(row.items()))))


@st.composite
def _bodies(draw):
    length = draw(st.integers(0, 2))
    instances = [_row(draw, length) for _ in range(draw(st.integers(1, 3)))]
    if draw(st.integers(0, 3)) == 0:
        instances[-1][draw(st.sampled_from("fdilstx"))] = draw(_odd)
    body = {"signature_name": "many", "instances": instances}
    text = json.dumps(dict(draw(st.permutations(list(body.items())))), ensure_ascii=draw(st.booleans()))
    data = bytearray(text.encode(errors="surrogatepass"))
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(data) - 1))
        data[at] = draw(st.integers(0, 255))
    return bytes(data)


@untimed
@given(_bodies())
def test_what_is_read_natively_is_what_the_other_reader_reads(body):
    _compare(body)


@pytest.mark.parametrize(
    "body",
    [
        '{"instances": [{"b64": "AAAA"}]}',  # no example
        '{"instances": []}',
        '{"instances": [[1, 2]], "signature_name": "one"}',
        '{"signature_name": "one", "instances": [[1, 2, 1e39]]}',
        '{"signature_name": "one", "instances": [[1, 2, NaN]]}',
        '{"signature_name": "one", "instances": [[1, 2, 01]]}',
        '{"signature_name": "one", "instances": [[1, 2, true]]}',
        '{"signature_name": "one", "instances": [[1, 2, 3],]}',
        '{"signature_name": "one", "instances": [[1, 2, 3]]} x',
        '{"signature_name": "one", "instances": [[1, 2, 9007199254740993]]}',
        '{"signature_name": "one", "instances": [{"x": [1, 2, 3], "x": [1, 2, 4]}]}',
        '{"signature_name": "one", "instances": [[1, 2, 3]], "instances": [[1, 2, 3]]}',
        '{"signature_name": "one", "instances": [[1, 2, 3]], "inputs": [[1, 2, 3]]}',
        '{"signature_name": "none", "instances": [[1, 2, 3]]}',
        '{"signature_name": "words", "instances": [["\\ud800"]]}',
        '{"signature_name": "words", "instances": [[{"b64": "AB=="}]]}',
        '{"signature_name": "words", "instances": [[{"b64": "AAA"}]]}',
        '{"signature_name": "words", "instances": ' + "[" * 100_000,
        '{"signature_name": "one", "instances": [' + "[1,2,3]," * MOST_ROWS + "[1,2,3]]}",
    ],
)
def test_what_may_mean_another_thing_is_left_to_the_other_reader(body):
    assert READER.read(body.encode(), MOST_ROWS) is None


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [{"x": [1, 2.5, -0.0]}, {"x": [1e-46, 3.4e38, 16777217]}], "signature_name": "one"},
        {"signature_name": "one", "instances": [[1, -0, 3]] * MOST_ROWS},
        {"signature_name": "words", "instances": [["é€😀\n\"\\/"], [{"b64": "AA=="}], [{"b64": "AAE="}], [""]]},
        {"instances": [{"b64": tf.io.encode_base64(example(rows(1)[0]), pad=True).numpy().decode().replace("-", "+").replace("_", "/")}]},
    ],
)  # fmt: skip
def test_ordinary_requests_are_read_natively(body):
    assert _compare(json.dumps(body).encode()) and _compare(json.dumps(body, ensure_ascii=False).encode())


def test_requests_are_joined_in_their_order_and_padded_with_the_first_row():
    texts = [{"signature_name": "many", "instances": [_plain(i)] * (i + 1)} for i in range(3)]
    packed = [READER.read(json.dumps(text).encode(), MOST_ROWS) for text in texts]
    columns = joined(packed, 8)
    assert columns["i"].tolist() == [0, 1, 1, 2, 2, 2, 0, 0] and columns["d"][5].tolist() == [2.0, 0.5]
    assert columns["s"] == [b"0", b"1", b"1", b"2", b"2", b"2", b"0", b"0"]
    assert columns["t"].shape == (8, 1, 2) and columns["t"][1].tolist() == [[b"1", b"x"]]
    other = READER.read(json.dumps({"signature_name": "many", "instances": [{**_plain(1), "l": [1]}]}).encode(), 1)
    assert not packed[0].joins(other) and packed[0].joins(packed[1])


def _plain(i):
    return {"f": i, "d": [i, 0.5], "i": i, "l": [i, i], "s": str(i), "t": [[str(i), "x"]]}


@untimed
@given(
    st.lists(
        st.tuples(st.floats(width=32), st.floats(), st.integers(-(1 << 63), (1 << 63) - 1), st.booleans()), min_size=1
    )
)
def test_answers_read_back_as_the_numbers_that_they_were(values):
    outputs = {
        'f"ü': np.array([v[0] for v in values], np.float32),
        "d": np.array([[v[1]] * 2 for v in values]),
        "l": np.array([v[2] for v in values], np.int64),
        "b": np.array([v[3] for v in values]),
    }
    first, rest = predictions_json(outputs, [(0, 1), (1, len(values))])
    got = json.loads(first)["predictions"] + json.loads(rest)["predictions"]
    assert len(json.loads(first)["predictions"]) == 1
    for name, wanted in outputs.items():
        back = np.array([row[name] for row in got], wanted.dtype)
        np.testing.assert_array_equal(back, wanted)
    (alone,) = predictions_json({"f": outputs['f"ü']}, [(0, len(values))])
    assert all(isinstance(each, float) for each in json.loads(alone)["predictions"])


def test_answers_look_as_those_of_tensorflow_serving():
    values = np.array([0.1, math.nan, math.inf, -math.inf, 2, 1e-30], np.float32)
    (text,) = predictions_json({"y": values}, [(0, 6)])
    assert text == b'{"predictions": [0.1, NaN, Infinity, -Infinity, 2.0, 1e-30]}'
    assert predictions_json({"y": np.array([b"a"], object)}, [(0, 1)]) is None
