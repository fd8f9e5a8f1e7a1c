"""Failures of the user's preprocessing_fn while TensorFlow runs it, here or on a worker, as one line that says where."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace

from engine.core.errors import ConfigError, FullpassError
from transforms.tracing.user_function import place_in

__all__ = ["graph_errors"]

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_NODE = re.compile(r"\{\{node ([^}]+)\}\}|at node '?([^'\s]+)")
_AROUND = ("Detected at node", "<stack traces", "Node: ", "File ")
_LIBRARIES = ("tensorflow", "tensorflow_transform", "tfx_bsl", "apache_beam", "keras")


@contextlib.contextmanager
def graph_errors(lines: Mapping[str, str], function: str, hints: Sequence[str] = (), step: str = "") -> Iterator[None]:
    """Turns what TensorFlow, TFT or Beam raise inside into a ConfigError of one line.

    Args:
        lines: "FILE:LINE" by operation name; may still be filled while the body runs.
        function: name of the user's function.
        hints: facts on the data that may explain a failure, e.g. the cell that made a column text.
        step: name that the message begins with, where nobody else adds one.
    """
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        if not _is_of_tensorflow(error):
            raise
        raise ConfigError(f"{step}: " * bool(step) + _message(error, lines, function, hints)) from error


def _message(error: BaseException, lines: Mapping[str, str], function: str, hints: Sequence[str]) -> str:
    text = str(error)
    node = next((name for match in _NODE.finditer(text) for name in match.groups() if name), None)
    line = _python_line(text) or (_line(node, lines) if node else None)
    where = line or function
    what = f"{function} failed in TensorFlow" if line else "failed in TensorFlow"
    operation = f" at operation {node}" if node else ""
    hint = "".join(f"; {hint}" for hint in hints) if "string" in text else ""
    return f"{where}: {what}{operation}: {_core(text) or type(error).__name__}{hint}"


def _python_line(text: str) -> str | None:
    """The line of the user's code that raised inside of a tf.py_function or tf.numpy_function, whose traceback the text holds."""
    raised = text.partition("Traceback (most recent call last)")[2].split("Original stack trace")[0]
    return place_in(SimpleNamespace(filename=file, lineno=line) for file, line in _FRAME.findall(raised))


def _line(node: str, lines: Mapping[str, str]) -> str | None:
    """The operation itself, or the longest of which the failing one ends with the name (a function's body is prefixed).

    Else the longest whose name is a part of its: what is in a branch of a tf.cond or an assertion is named below the whole.
    """
    if node in lines:
        return lines[node]
    ends = [name for name in lines if node.endswith(f"/{name}")] or [
        name for name in lines if f"/{name}/" in f"/{node}/"
    ]
    return lines[max(ends, key=len)] if ends else None


def _core(text: str) -> str:
    """TensorFlow's own sentence, without the stack traces that it wraps around it."""
    parts = []
    text = text.split("Original stack trace")[0].split("Traceback (most recent call last)")[0]
    for line in text.splitlines():
        line = re.sub(r"\[\[\{\{node [^}]*\}\}\]\]|\[Op:[^\]]*\]|\[\[.*\]\]", "", line).strip()
        if not line or "Graph execution error" in line or line.startswith(_AROUND):
            continue
        if line not in parts:
            parts.append(line)
    return " ".join(parts)[:400]


def _is_of_tensorflow(error: BaseException) -> bool:
    """Whether it was raised in TensorFlow's, TFT's or Beam's code, here or by a worker of a runner; else it is ours."""
    if isinstance(error, FullpassError):
        return "{{node " in str(error)
    trace, last = error.__traceback__, ""
    while trace is not None:
        last = trace.tb_frame.f_code.co_filename
        trace = trace.tb_next
    return any(f"/site-packages/{name}/" in last.replace("\\", "/") for name in _LIBRARIES)
