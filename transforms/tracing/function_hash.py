"""A hash of what a Python function does: its code and all that the code reaches, the same in each process.

A graph names a `tf.numpy_function` or `tf.py_function` by a number only, so a cache that looks at the graph alone would take the
results of yesterday's body. Comments and line numbers do not count. What cannot be hashed makes the whole unknown, never equal.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["function_hash"]

_LIBRARIES = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes)


class _Unknown(Exception):
    """Something whose content cannot be determined."""


def function_hash(function: Callable[..., Any]) -> bytes | None:
    """Returns a hash of a function, its closure, its defaults and the globals that it uses; None where that cannot be determined.

    Args:
        function: any callable.
    """
    visit = _Visit()
    try:
        visit.value(function)
    except (_Unknown, RecursionError):
        return None
    return visit.digest.digest()


class _Visit:
    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=20)
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # alive, so that no id is given twice

    def value(self, value: Any) -> None:
        """Adds a value of any kind."""
        if isinstance(value, _PLAIN):
            self._text(type(value).__name__, repr(value))
        elif id(value) in self._seen:
            self._text("seen", self._seen[id(value)])
        else:
            self._seen[id(value)] = len(self._seen)
            self._kept.append(value)
            self._new(value)

    def _new(self, value: Any) -> None:
        if isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.CodeType):
            self._code(value)
        elif isinstance(value, types.ModuleType):
            self._module(value)
        elif isinstance(value, types.MethodType):
            self._items("method", (value.__func__, value.__self__))
        elif isinstance(value, functools.partial):
            self._items("partial", (value.func, value.args, value.keywords))
        elif isinstance(value, (tuple, list)):
            self._items(type(value).__name__, value)
        elif isinstance(value, Mapping):
            self._items("mapping", (part for item in value.items() for part in item))
        elif isinstance(value, (set, frozenset)):
            self._text("set", sorted(repr(each) for each in value))
            if not all(isinstance(each, _PLAIN) for each in value):
                raise _Unknown
        elif isinstance(value, (np.ndarray, np.generic)):
            self._array(np.asarray(value))
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, types.BuiltinFunctionType):
            bound = value.__self__
            self._text("built in", f"{value.__module__}.{value.__qualname__}")
            self.value(None if isinstance(bound, types.ModuleType) else bound)
        elif isinstance(value, (np.ufunc, np.dtype)):
            self._text("numpy", repr(value))
        else:
            self._instance(value)

    def _text(self, kind: str, value: Any) -> None:
        text = f"{kind}:{value}".encode("utf-8", "surrogatepass")
        self.digest.update(len(text).to_bytes(8, "little") + text)

    def _items(self, kind: str, items: Iterable[Any]) -> None:
        found = list(items)
        self._text(kind, len(found))
        for each in found:
            self.value(each)

    def _array(self, array: np.ndarray) -> None:
        if array.dtype.hasobject:
            self._items(f"objects{array.shape}", array.reshape(-1).tolist())
        else:
            self._text("array", (array.dtype.str, array.shape, hashlib.blake2b(array.tobytes()).hexdigest()))

    def _function(self, function: types.FunctionType) -> None:
        self._items("defaults", (function.__defaults__, function.__kwdefaults__))
        cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
        if _in_library(function.__code__.co_filename):
            self._text("library", f"{function.__module__}.{function.__qualname__} {_version(function.__module__)}")
            self._items("closure", cells)  # a library's wrapper holds the user's function there
            return
        self._items("function", (function.__code__, cells))
        for name in sorted(_names(function.__code__) & function.__globals__.keys()):
            self._text("global", name)
            self.value(function.__globals__[name])

    def _code(self, code: types.CodeType) -> None:
        self._text("code", (code.co_code, code.co_names, code.co_varnames, code.co_argcount, code.co_flags))
        self._items("constants", code.co_consts)

    def _module(self, module: types.ModuleType) -> None:
        file = getattr(module, "__file__", None)
        if file is None or _in_library(file):
            self._text("module", f"{module.__name__} {_version(module.__name__)}")
            return
        try:
            with open(file, "rb") as source:
                self._text("source", source.read())
        except OSError as error:
            raise _Unknown from error
        for each in vars(module).values():
            of = (
                each if isinstance(each, types.ModuleType) else sys.modules.get(getattr(each, "__module__", None) or "")
            )
            if of is not None and of is not module:
                self.value(of)

    def _class(self, kind: type) -> None:
        module = sys.modules.get(kind.__module__)
        file = getattr(module, "__file__", None)
        known = module is not None and kind.__module__ != "__main__" and (file is None or _in_library(file))
        self._text("class", f"{kind.__module__}.{kind.__qualname__} {_version(kind.__module__)}")
        if not known:
            members = {name: each for name, each in vars(kind).items() if _is_content(name, each)}
            self._items("members", (part for item in sorted(members.items()) for part in item))
            self._items("bases", kind.__bases__)

    def _instance(self, value: Any) -> None:
        if hasattr(value, "as_datatype_enum"):  # a TensorFlow type
            self._text("dtype", value.as_datatype_enum)
            return
        try:
            state = vars(value)
        except TypeError as error:
            raise _Unknown from error
        self._items("instance", (type(value), state))


def _names(code: types.CodeType) -> set[str]:
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # a name that has no value yet
        return False


def _is_content(name: str, member: Any) -> bool:
    return name not in ("__dict__", "__weakref__", "__doc__", "__module__") and not isinstance(
        member, (types.GetSetDescriptorType, types.MemberDescriptorType)
    )


def _in_library(file: str) -> bool:
    return file.startswith(_LIBRARIES) or file.startswith("<frozen")


def _version(module: str) -> str:
    return str(getattr(sys.modules.get((module or "").partition(".")[0]), "__version__", sys.version))
