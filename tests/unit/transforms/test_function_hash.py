"""The hash of a Python function: equal for equal code, another for anything that it reaches and that changed."""

from __future__ import annotations

import functools
import importlib.util
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transforms.tracing.function_hash import function_hash

_SOURCE = """
import math
import numpy as np
import hash_helper

SCALE = 2.0
TABLE = {"a": np.arange(3)}

class Shift:
    by = 1

    def apply(self, x):
        return x + self.by

def helper(x, factor=3):
    return x * factor

def function(x):
    inner = lambda y: helper(y) + SCALE
    return inner(x) + math.sqrt(TABLE["a"][1]) + Shift().apply(x) + hash_helper.more(x)
"""
_HELPER = "def more(x):\n    return x + 1\n"


def load(directory: Path, source: str, helper: str = _HELPER) -> Any:
    """The function of a module that is loaded anew, beside its helper."""
    for name, text in (("hash_helper", helper), ("hash_main", source)):
        file = directory / f"{name}.py"
        file.write_text(text)
        sys.modules.pop(name, None)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        exec(compile(text, str(file), "exec"), module.__dict__)
    return sys.modules.pop("hash_main").function


def test_the_hash_is_of_what_the_code_does(tmp_path: Path) -> None:
    first = function_hash(load(tmp_path, _SOURCE))
    assert first is not None
    assert function_hash(load(tmp_path, "# a comment\n\n" + _SOURCE)) == first
    for old, new in (
        ("SCALE = 2.0", "SCALE = 2.5"),
        ("factor=3", "factor=4"),
        ("x * factor", "x / factor"),
        ("by = 1", "by = 2"),
        ("x + self.by", "x - self.by"),
        ("np.arange(3)", "np.arange(4)"),
        ("math.sqrt", "math.exp"),
        ("helper(y) + SCALE", "helper(y) - SCALE"),
    ):
        assert function_hash(load(tmp_path, _SOURCE.replace(old, new))) not in (None, first), old
    assert function_hash(load(tmp_path, _SOURCE, _HELPER.replace("+ 1", "+ 2"))) not in (None, first)


@pytest.mark.parametrize(
    "change", [lambda n: functools.partial(np.add, n), lambda n: lambda x: x + n, lambda n: [n].count]
)
def test_closures_and_partials_are_hashed(change: Any) -> None:
    assert function_hash(change(1)) == function_hash(change(1))
    assert function_hash(change(1)) != function_hash(change(2))


def test_what_cannot_be_told_is_unknown() -> None:
    lock = threading.Lock()
    assert function_hash(lambda x: (lock, x)) is None
