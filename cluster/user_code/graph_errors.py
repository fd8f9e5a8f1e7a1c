"""Failures of the user's preprocessing_fn, while it is traced or while TensorFlow runs it, as one line that says where.

TensorFlow names the operation that failed, not the line that made it. So the lines are noted while the function is
traced, and looked up when one of its operations fails, in analyze or later in transform.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.core.errors import ConfigError, DataError, FullpassError
from engine.storage import paths
from engine.storage.tree import read_text

__all__ = ["LineNotes", "graph_errors", "read_lines"]

_FILE = "source_lines.json"
_NODE = re.compile(r"\{\{node ([^}]+)\}\}|at node '?([^'\s]+)")
_AROUND = ("Detected at node", "<stack traces", "Node: ", "File ")
_LIBRARIES = ("tensorflow", "tensorflow_transform", "tfx_bsl", "apache_beam", "keras")


class LineNotes:
    """Calls the user's function and notes which of its lines made which operation.

    Args:
        function: the preprocessing_fn.
        path: the user's file.
    """

    def __init__(self, function: Callable[..., Any], path: str | Path) -> None:
        self._function, self._file = function, Path(path).resolve()
        self.lines: dict[str, str] = {}
        self.__name__ = self.__qualname__ = function.__name__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self._function(*args, **kwargs)
        self.lines |= _lines_of_operations(self._file)
        return result

    def write(self, graph: str | Path) -> None:
        """Writes the lines beside the transform graph, where `read_lines` finds them."""
        with paths.open_output(paths.join(graph, _FILE)) as file:
            file.write(json.dumps(self.lines).encode())


def read_lines(graph: str | Path) -> dict[str, str]:
    """Returns "FILE:LINE" by operation of a transform graph, or nothing where they were not noted."""
    try:
        return json.loads(read_text(paths.join(graph, _FILE)) or "{}")
    except (OSError, ValueError, DataError):
        return {}


def _lines_of_operations(file: Path) -> dict[str, str]:
    import tensorflow as tf

    lines: dict[str, str] = {}
    if tf.executing_eagerly():
        return lines
    for operation in tf.compat.v1.get_default_graph().get_operations():
        frames = [frame for frame in operation.traceback or () if frame.filename == str(file)]
        if frames:
            lines[operation.name] = f"{file.name}:{frames[-1].lineno}"
    return lines


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
    line = _line(node, lines) if node else None
    where = line or function
    what = f"{function} failed in TensorFlow" if line else "failed in TensorFlow"
    operation = f" at operation {node}" if node else ""
    hint = "".join(f"; {hint}" for hint in hints) if "string" in text else ""
    return f"{where}: {what}{operation}: {_core(text) or type(error).__name__}{hint}"


def _line(node: str, lines: Mapping[str, str]) -> str | None:
    """The operation itself, or the longest of which the failing one ends with the name (a function's body is prefixed)."""
    if node in lines:
        return lines[node]
    ends = [name for name in lines if node.endswith(f"/{name}")]
    return lines[max(ends, key=len)] if ends else None


def _core(text: str) -> str:
    """TensorFlow's own sentence, without the stack traces that it wraps around it."""
    parts = []
    for line in text.split("Original stack trace")[0].splitlines():
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
