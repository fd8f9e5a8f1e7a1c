"""The user's preprocessing_fn, called so that what fails in it is one line with the user's file and line.

TensorFlow names the operation that failed, not the line that made it. So the lines are noted while the function is traced, written
beside the transform graph, and looked up when one of its operations fails, in analyze or later in transform.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from engine.core.errors import ConfigError, DataError, FullpassError
from engine.core.json_text import parse_json
from engine.storage import paths
from engine.storage.tree import read_text

__all__ = ["UserFunction", "place_in", "place_of_output", "read_lines", "with_custom_config"]

# Beside the SavedModel's own files, where TensorFlow leaves room for others; so it goes wherever the graph is copied to.
_FILE = os.path.join("assets.extra", "source_lines.json")
_FEATURE_TYPES = ("float32", "int64", "string")
_ROOT = Path(__file__).resolve().parents[2]
_NOT_THE_USERS = (
    *(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    *(str(_ROOT / name) + os.sep for name in ("engine", "transforms", "trainers", "cluster")),
    "<frozen",
)


class UserFunction:
    """Calls the user's function and notes which of its lines made which operation.

    Args:
        function: the preprocessing_fn.
        custom_config: what it gets as `custom_config`, if it takes one.

    Attributes:
        lines: "FILE:LINE" by operation name and by output, after a call.
    """

    def __init__(self, function: Callable[..., Any], custom_config: Mapping[str, Any] | None = None) -> None:
        self.function = with_custom_config(function, custom_config)
        self.lines: dict[str, str] = {}
        self.name = getattr(function, "__name__", "preprocessing_fn")

    def __call__(self, inputs: Any) -> Any:
        try:
            result = self.function(inputs)
        except FullpassError:
            raise
        except (Exception, SystemExit) as error:  # sys.exit(0) would end the command as if all were done
            where = place_in(traceback.extract_tb(error.__traceback__)) or self.place
            text = " ".join(str(error).split())
            raise ConfigError(f"{where}: {self.name} raised {type(error).__name__}: {text}") from error
        self._check(result)
        self.lines |= _lines_of_operations()
        self.lines |= _lines_of_outputs(result)
        return result

    @property
    def place(self) -> str:
        """Where the function is defined: "FILE:LINE", or its name where that is not known."""
        function = self.function
        while isinstance(function, functools.partial):
            function = function.func
        code = getattr(inspect.unwrap(function), "__code__", None)
        return f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}" if code is not None else self.name

    def refuse(self, problem: str, tensor: Any = None, place: str | None = None) -> ConfigError:
        """Returns the error of an output that cannot be.

        Args:
            problem: what is wrong, and what to do.
            tensor: the output, for the line that made it.
            place: "FILE:LINE", where it is known.
        """
        where = place if tensor is None else _line_of(_operation(tensor))
        return ConfigError(f"{where or self.place}: {self.name} {problem}")

    def _check(self, result: Any) -> None:
        if not isinstance(result, Mapping) or not result:
            kind = "an empty dict" if isinstance(result, Mapping) else f"a {type(result).__name__}"
            raise self.refuse(
                f"must return a dict of at least one tensor by feature name, it returned "
                f"{'None (is a return missing?)' if result is None else kind}"
            )
        for name, value in result.items():
            if not isinstance(name, str):
                raise self.refuse(f"returned an output under {name!r}: names of features must be text")
            if isinstance(value, (dict, list, tuple)):
                raise self.refuse(
                    f"returned a {type(value).__name__} as output {name!r}: give each tensor a name of its own"
                )
            if not hasattr(value, "dtype") or not hasattr(value, "shape") or not hasattr(value, "get_shape"):
                raise self.refuse(
                    f"returned a {type(value).__name__} as output {name!r}, not a tensor with one row a record: "
                    "tf.fill(tf.shape(x)[:1], value) makes one"
                )

    def check_shapes(self, outputs: Mapping[str, Any]) -> None:
        """Refuses traced outputs that are not features: scalars, dense tensors of unknown inner size, and other types.

        Raises:
            ConfigError: with the line that made the output.
        """
        for name, value in outputs.items():
            shape = value.shape
            if value.dtype.name not in _FEATURE_TYPES:
                raise self.refuse(
                    f"returned output {name!r} of type {value.dtype.name}: a feature is float32, int64 or string; "
                    f"tf.cast(value, tf.{'float32' if value.dtype.is_floating else 'int64'}) makes one",
                    value,
                )
            if shape.rank == 0:
                raise self.refuse(
                    f"returned a scalar as output {name!r}: a feature has one row a record, tf.fill(tf.shape(x)[:1], value)",
                    value,
                )
            if _is_dense(value) and (shape.rank is None or None in shape.as_list()[1:]):
                raise self.refuse(
                    f"returned output {name!r} of shape {shape}, whose size within a record is not known: set it with "
                    f"tf.ensure_shape(value, [None, N]), or return a sparse or ragged tensor",
                    value,
                )

    def write(self, model: str | os.PathLike[str]) -> None:
        """Writes the lines into a SavedModel's directory, where `read_lines` finds them."""
        import tensorflow as tf

        path = os.path.join(model, _FILE)
        tf.io.gfile.makedirs(os.path.dirname(path))
        with tf.io.gfile.GFile(path, "w") as file:
            file.write(json.dumps(self.lines))


def with_custom_config(function: Callable[..., Any], custom_config: Mapping[str, Any] | None) -> Callable[..., Any]:
    """Returns the function of inputs alone.

    Args:
        function: preprocessing_fn(inputs) or, as TFX allows, preprocessing_fn(inputs, custom_config).
        custom_config: what the second argument gets; None for an empty one.

    Raises:
        ConfigError: for other arguments, and for a configuration that the function does not take.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return function
    if "custom_config" in parameters and parameters["custom_config"].default is inspect.Parameter.empty:
        return functools.partial(function, custom_config=dict(custom_config or {}))
    if "custom_config" in parameters and custom_config:
        return functools.partial(function, custom_config=dict(custom_config))
    name = getattr(function, "__name__", "preprocessing_fn")
    if custom_config:
        raise ConfigError(f"custom_config is given, but {name} takes ({', '.join(parameters)}): add it as an argument")
    required = [each.name for each in parameters.values() if each.default is each.empty and each.kind not in (2, 3, 4)]
    if len(required) > 1:
        raise ConfigError(
            f"{name} takes ({', '.join(required)}); a preprocessing_fn takes (inputs) or (inputs, custom_config)"
        )
    return function


def read_lines(graph: str | os.PathLike[str]) -> dict[str, str]:
    """Returns "FILE:LINE" by operation of a transform graph or its SavedModel, or nothing where they were not noted."""
    for model in (paths.join(graph, "transform_fn"), os.fspath(graph)):
        try:
            text = read_text(paths.join(model, _FILE))
            if text:
                lines = parse_json(text)  # for messages alone: what is damaged says nothing
                return {key: str(line) for key, line in lines.items()} if isinstance(lines, dict) else {}
        except (OSError, ValueError, DataError):
            continue
    return {}


def place_of_output(graph: str | os.PathLike[str], name: str) -> str:
    """Returns "FILE:LINE: preprocessing_fn" for the line that made an output of a transform graph, without it where it was not noted."""
    line = read_lines(graph).get(_of_output(name))
    return f"{line}: preprocessing_fn" if line else "preprocessing_fn"


def place_in(frames: Iterable[Any]) -> str | None:
    """Returns "FILE:LINE" of the innermost frame that is the user's own code, or None."""
    for frame in reversed(list(frames)):
        if not _is_library(str(frame.filename)):
            return f"{os.path.basename(frame.filename)}:{frame.lineno}"
    return None


def _of_output(name: str) -> str:
    return f"output {name}"  # no operation has a blank in its name


def _is_dense(value: Any) -> bool:
    import tensorflow as tf

    return not isinstance(value, (tf.SparseTensor, tf.RaggedTensor))


def _operation(tensor: Any) -> Any:
    import tensorflow as tf

    # What a traced function returns is an Identity that TensorFlow adds.
    operation = tf.nest.flatten(tensor, expand_composites=True)[0].op
    while operation.type == "Identity" and _line_of(operation) is None and len(operation.inputs):
        operation = operation.inputs[0].op
    return operation


def _line_of(operation: Any) -> str | None:
    # Each frame that is looked at becomes an object of Python: from the innermost one outwards, no more than it takes.
    frames = operation.traceback.get_user_frames() if operation.traceback is not None else ()
    line = None
    for place in range(len(frames) - 1, -1, -1):
        frame = frames[place]
        file = frame.filename
        if file == __file__:
            return line
        if line is None and not _is_library(file):
            line = f"{os.path.basename(file)}:{frame.lineno}"
    return None  # what TensorFlow adds around the function's own operations is made by whoever called us


@functools.lru_cache(maxsize=4096)
def _is_library(file: str) -> bool:
    return file.startswith(_NOT_THE_USERS)


def _lines_of_operations() -> dict[str, str]:
    import tensorflow as tf

    if tf.executing_eagerly():
        return {}
    found = {each.name: _line_of(each) for each in tf.compat.v1.get_default_graph().get_operations()}
    return {name: line for name, line in found.items() if line is not None}


def _lines_of_outputs(outputs: Mapping[str, Any]) -> dict[str, str]:
    import tensorflow as tf

    if tf.executing_eagerly():
        return {}
    first = {name: tf.nest.flatten(value, expand_composites=True)[0] for name, value in outputs.items()}
    # A tensor that was made outside of the function has no operation.
    found = {name: _line_of(_operation(tensor)) for name, tensor in first.items() if hasattr(tensor, "op")}
    return {_of_output(name): line for name, line in found.items() if line is not None}
