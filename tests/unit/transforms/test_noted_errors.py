"""Errors that Beam's workers keep for the driver: whole, and never code."""

from __future__ import annotations

import os
import pickle

import pytest

from engine import ConfigError, DataError, FullpassError
from engine.core.errors import NoRoom, NotMet
from transforms.runners.beam.stages import noted_error, noting_errors


@pytest.mark.parametrize(
    ("raised", "kind", "text"),
    [
        (DataError("is cut", path="a/b", record=7, offset_bytes=99), DataError, "a/b, record 7, byte 99: is cut"),
        (NoRoom("no space left", path="a/b"), NoRoom, "a/b: no space left"),
        (NotMet("too few"), NotMet, "too few"),
        (DataError("twice"), DataError, "twice"),
        (ConfigError("no such column"), ConfigError, "no such column"),
        (KeyError("x"), FullpassError, "KeyError: 'x'"),
    ],
)
def test_noted_error_comes_back_with_its_kind_and_its_place(tmp_path, raised, kind, text):
    with pytest.raises(type(raised)), noting_errors(str(tmp_path)):
        raise raised
    found = noted_error(str(tmp_path))
    assert type(found) is kind and str(found) == text
    if isinstance(raised, DataError):
        assert (found.path, found.record, found.offset_bytes) == (raised.path, raised.record, raised.offset_bytes)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hacked",)


@pytest.mark.parametrize(
    "content",
    [pickle.dumps(Hostile()), b"", b"null", b"[]", b'{"type":"DataError"}', b'{"message":1}', b"[" * 100_000, b"\xff"],
)
def test_noted_error_of_somebody_else_is_none_and_runs_nothing(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "error").write_bytes(content)
    assert noted_error(str(tmp_path)) is None
    assert os.listdir(tmp_path) == ["error"]
