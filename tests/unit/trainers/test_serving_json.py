"""Tensors in JSON: values that a reader would take for others, and outputs that JSON has no form for."""

import json

import ml_dtypes
import numpy as np
import pytest

from trainers.serving.server.doors.scores import classes_of, regressions_of
from trainers.serving.server.doors.tensors import as_written, from_json, to_json
from trainers.serving.server.errors import InvalidRequest
from trainers.serving.server.signatures import Signature, TensorSpec


def _read(dtype, instances, **others):
    kinds = {"x": dtype, **others}
    specs = {
        name: TensorSpec(np.dtype(object if kind is bytes else kind), None, (None,)) for name, kind in kinds.items()
    }
    arrays, _ = from_json({"instances": instances}, Signature("s", specs, {}, None))
    return {name: array.tolist() for name, array in arrays.items()}


def test_integers_on_both_sides_of_two_to_the_63_are_exact():
    numbers = [1, (1 << 63) + 1, (1 << 64) - 1]
    assert _read(np.uint64, numbers) == {"x": numbers}
    for dtype, wrong in ((np.uint64, [1, 1 << 64]), (np.uint64, [-1, 1 << 63]), (np.int64, [1, 1 << 63])):
        with pytest.raises(InvalidRequest, match="'x': a number does not fit"):
            _read(dtype, wrong)
    with pytest.raises(InvalidRequest, match="got float64; expected int64"):
        _read(np.int64, [(1 << 53) + 1, 2.0])


def test_bfloat16_goes_in_and_comes_out():
    assert _read(ml_dtypes.bfloat16, [1.5, 2]) == {"x": [1.5, 2.0]}
    with pytest.raises(InvalidRequest, match="does not fit bfloat16"):
        _read(ml_dtypes.bfloat16, [1e39])
    assert to_json({"y": np.array([1.5], ml_dtypes.bfloat16)}, rows=True) == {"predictions": [1.5]}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_numbers_that_json_has_no_form_for_are_taken_by_name_beside_others(dtype):
    assert str(_read(dtype, ["NaN", "Infinity", "-Infinity"])["x"]) == "[nan, inf, -inf]"
    assert str(_read(dtype, [1.5, "NaN", 2, "-Infinity"])["x"]) == "[1.5, nan, 2.0, -inf]"
    for wrong, seen in (
        (["inf"], "the text 'inf'"),
        ([1, "nan"], "the text 'nan'"),
        (["1.5"], "the text '1.5'"),
        ([1, None], "null"),
    ):
        with pytest.raises(InvalidRequest, match=f"got {seen}; expected {np.dtype(dtype).name}"):
            _read(dtype, wrong)
    with pytest.raises(InvalidRequest, match="expected int64"):
        _read(np.int64, ["NaN"])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("aGk=", b"hi"), ("aGk", b"hi"), ("aGk.", b"hi"), (" aG\nk = ", b"hi"), ("YQ", b"a"), ("YQ=.", b"a"), ("", b""),
        ("YWJj", b"abc"), ("aGl", b"hi"),
        ("a", None), ("aGk==", None), ("YQ=", None), ("YWJj=", None), ("=", None), ("a=Gk", None), ("a-_k", None), ("aGk\u00a0", None),
    ],
)  # fmt: skip
def test_base64_is_taken_as_tensorflow_serving_takes_it(text, wanted):
    """Its reader skips white space, needs no padding, takes `.` for `=`, and looks at no bits behind the last byte."""
    if wanted is not None:
        assert _read(bytes, [{"b64": text}]) == {"x": [wanted]}
    else:
        with pytest.raises(InvalidRequest, match="b64"):
            _read(bytes, [{"b64": text}])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_numbers_are_written_with_the_digits_that_their_type_has(dtype):
    values = np.array([0.1, -0.0, 1e-7, 3.0, 1 / 3, np.inf, np.nan, -np.inf, 2049.5], dtype)
    for rows, key in ((True, "predictions"), (False, "outputs")):
        text = json.dumps(to_json({"y": values}, rows))
        written = text.removeprefix(f'{{"{key}": [').removesuffix("]}").split(", ")
        single = values if dtype == np.float64 else values.astype(np.float32)
        for each, value in zip(written, single, strict=True):
            assert np.array(each, single.dtype).tobytes() == np.array(value).tobytes() or np.isnan(value)
            shown = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(str(value), str(value))
            assert each == shown or float(each) == float(shown), "NumPy writes the fewest digits"
    assert to_json({"y": np.array(0.1, np.float32)}, rows=False) == {"outputs": 0.1}
    assert to_json({"y": np.zeros((0, 2), dtype)}, rows=True) == {"predictions": []}


def test_a_class_without_label_or_score_has_none():
    scores = np.array([[0.1, 0.9]], np.float32)
    assert classes_of({"scores": scores}) == classes_of({"outputs": scores}) == [[("", 0.1), ("", 0.9)]]
    assert classes_of({"classes": np.array([[b"a", b"b"]], object)}) == [[("a", 0.0), ("b", 0.0)]]
    halves = np.array([[0.5, 0.25]], ml_dtypes.bfloat16)
    assert classes_of({"scores": halves}) == [[("", 0.5), ("", 0.25)]]
    assert as_written(regressions_of({"outputs": halves[0]})) == [0.5, 0.25]


def test_an_object_is_base64_only_where_nothing_stands_beside_it():
    assert _read(bytes, [{"b64": "aGk="}, "hi"]) == {"x": [b"hi", b"hi"]}
    assert _read(bytes, [{"b64": "a", "x": "b"}], b64=bytes) == {"x": [b"b"], "b64": [b"a"]}
    assert _read(np.float32, [{"b64": 1, "x": 2}], b64=np.float32) == {"x": [2.0], "b64": [1.0]}
    for instances in ([{"b64": "aGk=", "z": 1}], [{"x": {"b64": "aGk=", "z": 1}}], [{"x": {"b64": "é"}}]):
        with pytest.raises(InvalidRequest, match="b64"):
            _read(bytes, instances)


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"y": np.array([b"\xff"], object)}, "'y' has bytes that are not UTF-8"),
        ({"y": np.array([1 + 2j])}, "'y' is of complex128"),
        ({"y": np.array(1.0)}, "no rows"),
        ({"y": np.array(1.0), "z": np.array(2.0)}, "no rows"),
    ],
)
def test_outputs_without_a_form_are_refused_by_name(outputs, text):
    with pytest.raises(InvalidRequest, match=text):
        to_json(outputs, rows=True)
    assert to_json({"y_bytes": np.array([b"\xff"], object)}, rows=True) == {"predictions": [{"b64": "/w=="}]}


def test_classes_and_numbers_that_are_not_one_a_score_or_row_are_refused():
    scores = np.zeros((2, 2), np.float32)
    for outputs in (
        {"scores": scores, "classes": np.array([[b"a", b"b"]], object)},
        {"scores": scores, "classes": np.array([[b"a", b"\xff"]] * 2, object)},
        {"scores": np.array(1.0)},
    ):
        with pytest.raises(InvalidRequest):
            classes_of(outputs)
    for value in (np.array(1.0), scores):
        with pytest.raises(InvalidRequest, match="one floating-point number a row"):
            regressions_of({"outputs": value})
