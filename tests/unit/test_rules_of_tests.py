"""What the tests keep to themselves: public names of ours alone, and no time waited without a reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
OURS = ("engine", "transforms", "trainers", "cluster")
FILES = {file: file.read_text() for file in sorted(TESTS.rglob("*.py"))}


def imported_private_names(text: str) -> Iterator[tuple[int, str]]:
    """Yields (line, name) of private names of ours that a test imports."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS:
            for name in (alias.name for alias in node.names):
                if name.startswith("_") and not name.startswith(("__", "_native")):
                    yield node.lineno, f"{node.module}.{name}"


def replaced_private_names(text: str) -> Iterator[tuple[int, str]]:
    """Yields (line, name) of private names that a test replaces: what it needs to change is a parameter or a public setting."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("setattr", "delattr"):
            names = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
        elif isinstance(node, ast.Assign):
            # An attribute of a test's own class is its own.
            targets = [each for each in node.targets if isinstance(each, ast.Attribute)]
            names = [each.attr for each in targets if ast.unparse(each.value) not in ("self", "cls")]
        else:
            continue
        for name in names:
            last = str(name).rpartition(".")[2]
            if last.startswith("_") and not last.endswith("__"):
                yield node.lineno, str(name)


def unexplained_sleeps(text: str) -> Iterator[tuple[int, str]]:
    """Yields (line, what is wrong) of sleeps that wait for something, or that do not say in a comment which work takes the time."""
    tree, lines = ast.parse(text), text.splitlines()
    waits = {
        id(inner)
        for loop in ast.walk(tree)
        if isinstance(loop, ast.While) and not ast.unparse(loop.test).endswith(".is_set()")
        for inner in ast.walk(loop)
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep"):
            continue
        if id(node) in waits:
            yield node.lineno, "a loop that waits; take tests.support.eventually"
        elif "#" not in lines[(node.end_lineno or node.lineno) - 1]:
            yield node.lineno, "what takes this time? say it in a comment on the line, or wait for what is meant"


def asserted_times(text: str) -> Iterator[tuple[int, str]]:
    """Yields (line, what is wrong) of assertions of how long something took, which another program on the machine can make wrong."""
    clocks = {f"time.{clock}()" for clock in ("time", "monotonic", "perf_counter", "process_time")}
    for node in (each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.Assert)):
        for part in ast.walk(node.test):
            if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Sub) and ast.unparse(part.left) in clocks:
                yield node.lineno, "an asserted time: count what is done, or measure it in benchmarks/"


@pytest.mark.parametrize("rule", [imported_private_names, replaced_private_names, unexplained_sleeps, asserted_times])
def test_every_test_keeps_to(rule):
    # Servers and programs that tests start are no tests: they work, and wait in their own ways.
    files = {
        file: text for file, text in FILES.items() if rule is not unexplained_sleeps or "support" not in file.parts
    }
    assert len(files) > 200
    assert not [
        f"{file.relative_to(TESTS)}:{line}: {what}" for file, text in files.items() for line, what in rule(text)
    ]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (imported_private_names, "from engine.core import _inner"),
        (replaced_private_names, "patch.setattr(module, '_LIMIT', 3)"),
        (replaced_private_names, "patch.setattr('engine.core.text._LIMIT', 3)"),
        (replaced_private_names, "module._LIMIT = 3"),
        (unexplained_sleeps, "while not ready():\n    time.sleep(0.1)  # soon"),
        (unexplained_sleeps, "time.sleep(1)"),
        (asserted_times, "assert time.monotonic() - began < 60"),
    ],
)
def test_rule_finds(rule, text):
    assert len([*rule(text)]) == 1


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (imported_private_names, "from engine import _native\nfrom engine.core import __doc__"),
        (
            replaced_private_names,
            "patch.setattr(module, 'LIMIT', 3)\nself._x = 1\npatch.setattr(Kind, '__init__', made)",
        ),
        (
            unexplained_sleeps,
            "time.sleep(1)  # a slow writer\nwhile not over.is_set():\n    time.sleep(0.1)  # a flood",
        ),
        (asserted_times, "assert time.monotonic() < until, 'in vain waited'"),
    ],
)
def test_rule_lets_pass(rule, text):
    assert not [*rule(text)]
