"""Settings to and from mappings: types held, conversions, one form of message, round trips."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pytest

from engine import ConfigError
from engine.core.configs import check_types, decode, decode_json, encode, encode_json, refusal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    keep: int = 3
    every: float | None = None

    def __post_init__(self) -> None:
        check_types(self)
        if self.keep < 1:
            raise refusal("keep", self.keep, "at least 1")


class State(str, enum.Enum):
    NEW = "new"
    DONE = "done"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    kind: Literal["a", "bb"] = "a"
    state: State = State.NEW
    inner: Inner = dataclasses.field(default_factory=Inner)
    pair: tuple[int, int] | None = None
    words: tuple[str, ...] = ()
    label: str | Sequence[str] | None = None
    weights: Mapping[int, float] = dataclasses.field(default_factory=dict)
    many: Mapping[str, Inner] = dataclasses.field(default_factory=dict)
    anything: Any = None


WHOLE = {
    "name": "x",
    "kind": "bb",
    "state": "done",
    "inner": {"keep": 5, "every": 2},
    "pair": [1, 2],
    "words": ["u"],
    "label": ["p", "q"],
    "weights": {"0": 1, "1": 2.5},
    "many": {"w": {"keep": 2}},
    "anything": {"free": [1]},
}


def test_mapping_becomes_the_declared_types():
    made = decode(Outer, WHOLE)
    assert made == Outer(
        name="x", kind="bb", state=State.DONE, inner=Inner(keep=5, every=2.0), pair=(1, 2), words=("u",), label=("p", "q"),
        weights={0: 1.0, 1: 2.5}, many={"w": Inner(keep=2)}, anything={"free": [1]},
    )  # fmt: skip
    assert isinstance(made.inner.every, float) and isinstance(made.weights[0], float)
    assert isinstance(made.state, State)


def test_what_is_encoded_is_decoded_to_the_same_without_defaults():
    made = decode(Outer, WHOLE)
    assert decode_json(Outer, encode_json(made, version=1), version=1) == made
    assert encode(Outer(name="x")) == {"name": "x"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "out.name: got 3; expected a text"),
        ({"nam": 3}, "out.nam: unknown key; did you mean 'name'? the keys allowed here are name, kind"),
        ({"kind": "b"}, "out.kind: got 'b'; expected one of 'a', 'bb' (did you mean 'bb'?)"),
        ({"state": "NEW"}, "out.state: got 'NEW'; expected one of 'new', 'done'"),
        ({"state": ["new"]}, "out.state: got ['new']; expected one of 'new', 'done'"),
        ({"inner": 5}, "out.inner: got 5; expected a table"),
        ({"inner": {"keep": True}}, "out.inner.keep: got True; expected a whole number"),
        ({"inner": {"keep": 2.5}}, "out.inner.keep: got 2.5; expected a whole number"),
        ({"inner": {"keep": 0}}, "out.inner.keep: got 0; expected at least 1"),
        ({"inner": {"every": "2"}}, "out.inner.every: got '2'; expected a number"),
        (
            {"inner": {"every": 10**400}},
            f"out.inner.every: got {'1' + '0' * 56}...; expected a number within the range of float64",
        ),
        ({"pair": [1]}, "out.pair: got [1]; expected (a whole number, a whole number)"),
        ({"words": "u"}, "out.words: got 'u'; expected a list, each item a text"),
        ({"words": ["u", 1]}, "out.words[1]: got 1; expected a text"),
        ({"label": 7}, "out.label: got 7; expected a text or a list, each item a text or none"),
        ({"weights": {"a": 1}}, "out.weights: got 'a'; expected a whole number as key"),
        ({"many": {"w": {"keep": 0}}}, "out.many.w.keep: got 0; expected at least 1"),
    ],
)
def test_a_mistake_is_named_by_its_full_path_with_what_came_and_what_is_expected(change, message):
    with pytest.raises(ConfigError) as caught:
        decode(Outer, {"name": "x", **change}, "out")
    assert str(caught.value).startswith(message)


def test_missing_key_and_version_and_text_that_is_not_json():
    for call, message in (
        (lambda: decode(Outer, {}), "name: missing; expected a text"),
        (lambda: decode_json(Outer, '{"version": 2, "name": "x"}', version=1), "version: got 2; expected 1"),
        (lambda: decode_json(Outer, '{"version": 1, "name": "x"}'), "version: unknown key"),
        (lambda: decode_json(Outer, "{", "job"), "job: not JSON"),
        (lambda: decode_json(Outer, "[]", "job"), "job: got []; expected a table"),
    ):
        with pytest.raises(ConfigError, match=message.replace("[]", r"\[\]")):
            call()


def test_numbers_of_numpy_are_numbers_and_long_values_are_cut():
    assert Inner(keep=np.int64(4)).keep == 4 and type(Inner(keep=np.int64(4)).keep) is int
    with pytest.raises(ConfigError) as caught:
        Inner(keep="x" * 500)
    assert len(str(caught.value)) < 120
