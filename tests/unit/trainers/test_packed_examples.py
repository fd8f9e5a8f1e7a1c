"""Classify and Regress: requests that are read natively, and answers that are written natively, held to protobuf's own."""

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import classification_pb2, input_pb2, model_pb2, regression_pb2

from tests.support.examples import changed_messages, delimited
from tests.support.served_model import CRASH, example, rows
from trainers.serving.requests import well_formed
from trainers.serving.server.doors.grpc_service import classification_of, regression_of
from trainers.serving.server.doors.predict_calls import ClassifyCall, RegressCall
from trainers.serving.server.errors import InvalidRequest
from trainers.serving.server.packed import arrays_of, message_spec, request_reader
from trainers.serving.server.signatures import Signature, TensorSpec, examples_of

MOST_ROWS = 5
STRINGS = TensorSpec(np.dtype(object), None, (None,))
SIGNATURES = {
    "parsed": Signature("parsed", {"inputs": STRINGS}, {"y": STRINGS}, None, parsed=frozenset({"inputs"})),
    "text": Signature("text", {"inputs": STRINGS}, {"y": STRINGS}, None),
}
READER = request_reader(SIGNATURES)
SPANS = [(0, 1), (1, 3), (2, 2), (3, 4)]


def _message(count, kind=classification_pb2.ClassificationRequest):
    message = kind()
    message.model_spec.name = "m"
    for row in rows(count):
        message.input.example_list.examples.add().ParseFromString(example(row))
    return message


def _compare(body, kind=classification_pb2.ClassificationRequest):
    """Whether a message is read natively; then it is what protobuf reads."""
    packed = READER.read_examples(body, "parsed", MOST_ROWS)
    try:
        spec = model_pb2.ModelSpec.FromString(message_spec(body) or b"\0")
    except DecodeError:
        return False
    if packed is None:
        return False
    message = kind.FromString(body)
    assert spec == message.model_spec
    wanted = examples_of(message.input)
    (found,) = arrays_of(packed).values()
    assert packed.rows == len(wanted) and packed.signature == "parsed"
    # Fields may stand in another order in what a client sent.
    kind = type(message.input.example_list.examples[0])
    assert [kind.FromString(each) for each in found.tolist()] == [kind.FromString(each) for each in wanted]
    assert well_formed(found.tolist()) == found.tolist()
    return True


@pytest.mark.parametrize("kind", [classification_pb2.ClassificationRequest, regression_pb2.RegressionRequest])
def test_ordinary_requests_are_read_natively(kind):
    for count in (1, MOST_ROWS):
        assert _compare(_message(count, kind).SerializeToString(), kind)
    assert READER.read_examples(_message(MOST_ROWS + 1).SerializeToString(), "parsed", MOST_ROWS) is None
    assert READER.read_examples(_message(1).SerializeToString(), "text", MOST_ROWS) is None
    assert READER.read_examples(_message(1).SerializeToString(), "none", MOST_ROWS) is None


def test_names_that_are_no_utf_8_are_left_to_protobuf():
    body = _message(2).SerializeToString()
    assert _compare(body) and not _compare(body.replace(b"word", b"\x80ord"))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_what_is_read_natively_is_what_protobuf_reads(data):
    message = _message(data.draw(st.integers(1, 3)))
    body = data.draw(changed_messages(message.SerializeToString(), least=0))
    try:
        _compare(body)
    except DecodeError:
        pytest.fail("protobuf refuses what was read")


def test_what_may_mean_another_thing_is_left_to_protobuf():
    kind = classification_pb2.ClassificationRequest
    plain, with_context, empty = _message(2), _message(0), _message(0)
    with_context.input.example_list_with_context.CopyFrom(
        input_pb2.ExampleListWithContext(examples=plain.input.example_list.examples)
    )
    empty.input.example_list.SetInParent()
    spec, examples = delimited(1, plain.model_spec.SerializeToString()), plain.input.SerializeToString()
    crash = spec + delimited(2, delimited(1, delimited(1, CRASH)))
    twice, joined = spec + delimited(2, examples) + delimited(2, examples), spec + delimited(2, examples + examples)
    for body in (twice, joined):
        assert len(kind.FromString(body).input.example_list.examples) == 4
    for body in (with_context.SerializeToString(), empty.SerializeToString(), crash, twice, joined, b"", b"\x12\x00"):
        assert READER.read_examples(body, "parsed", MOST_ROWS) is None


def _labels(*names):
    return np.array([[*names, None]] * 4, object)[:, :-1]


SCORES = np.array([[0.0, -0.0, 0.1], [np.nan, np.inf, 1e-45], [1, 2, 3], [4, 5, 6]], np.float32)


@pytest.mark.parametrize(
    "outputs",
    [
        {"scores": SCORES},
        {"outputs": SCORES[:, 0]},
        {"scores": SCORES, "classes": _labels(b"", b"a" * 200, "ü".encode())},
        {"classes": _labels(b"a", b"b")},
    ],
)
def test_classes_are_those_that_protobuf_writes(outputs):
    for (first, last), got in zip(SPANS, ClassifyCall.write(outputs, SPANS), strict=True):
        part = {name: value[first:last] for name, value in outputs.items()}
        wanted = classification_pb2.ClassificationResponse(result=classification_of(part))
        assert got == wanted.SerializeToString() or first == last
        assert str(classification_pb2.ClassificationResponse.FromString(got).result) == str(wanted.result)


@pytest.mark.parametrize("values", [SCORES[:, 0], SCORES[:, 1:2], np.zeros(4, np.float32)])
def test_numbers_are_those_that_protobuf_writes(values):
    for (first, last), got in zip(SPANS, RegressCall.write({"outputs": values}, SPANS), strict=True):
        wanted = regression_pb2.RegressionResponse(result=regression_of({"outputs": values[first:last]}))
        assert got == wanted.SerializeToString() or first == last


@pytest.mark.parametrize(
    ("call", "outputs"),
    [
        (ClassifyCall, {"scores": SCORES, "classes": _labels(b"\xff", b"a", b"b")}),
        (ClassifyCall, {"scores": SCORES, "classes": _labels(b"a")}),
        (ClassifyCall, {"scores": np.zeros((4, 3), np.int64)}),
        (ClassifyCall, {"a": SCORES, "b": SCORES}),
        (RegressCall, {"outputs": SCORES}),
        (RegressCall, {"outputs": np.arange(4)}),
    ],
)
def test_what_is_no_answer_is_refused_for_each_request(call, outputs):
    assert call.write(outputs, SPANS) is None
    with pytest.raises(InvalidRequest):
        call.message(outputs)


def test_numbers_of_64_bits_are_answered_the_other_way():
    assert RegressCall.write({"outputs": np.ones(4)}, SPANS) is None
    assert [each.value for each in RegressCall.message({"outputs": np.ones(4)}).result.regressions] == [1.0] * 4
    assert ClassifyCall.write({"scores": np.ones((4, 2))}, SPANS) is None
    assert ClassifyCall.message({"scores": np.ones((4, 2))}).result.classifications[3].classes[1].score == 1.0
