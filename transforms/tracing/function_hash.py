"""A hash of what a Python function does: its code and all that the code reaches, the same in each process.

A graph names a `tf.numpy_function` or `tf.py_function` by a number only, so a cache that looks at the graph alone would take the
results of yesterday's body. Comments and line numbers do not count. What cannot be hashed makes the whole unknown, never equal.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import numpy as np

from transforms.tracing.code_reach import (
    NotImported,
    changes_path,
    imports_of,
    in_library,
    installed,
    is_reader,
    names_of,
    reads_outside,
    with_inner,
)
from transforms.tracing.hidden_fields import is_native, pickled, slots_of

__all__ = ["function_hash"]

_PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes)
_EXACT = (tuple, list, dict, types.MappingProxyType, set, frozenset, np.ndarray)
# Of a class: what it is called and where it stands; since Python 3.13 the line, and names that its methods assign in any order.
_NO_CONTENT = frozenset(
    {
        *("__dict__", "__weakref__", "__doc__", "__module__", "_abc_impl"),
        *("__firstlineno__", "__static_attributes__"),
    }
)


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
    known = visit.mentioned.isdisjoint(visit.reading) and not (visit.absent and changes_path(visit.mentioned))
    return visit.digest.digest() if known else None


class _Visit:
    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=20)
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # alive, so that no id is given twice
        self._attributes: set[tuple[int, str]] = set()
        self._located: set[NotImported] = set()
        self.mentioned: set[str] = set()  # names in all code
        self.absent: set[str] = set()  # modules that code would import, were they installed
        # Methods that read files: how an object was loaded does not matter, unless the code does it.
        self.reading: set[str] = set()

    def value(self, value: Any) -> None:
        """Adds a value of any kind."""
        if type(value) in _PLAIN:
            self._text(type(value).__name__, repr(value))
        elif isinstance(value, types.ModuleType):
            self._module(value, frozenset())
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
        elif isinstance(value, types.MethodType):
            self._items("method", (value.__func__, value.__self__))
        elif isinstance(value, (staticmethod, classmethod)):
            self._items(type(value).__name__, (value.__func__,))
        elif isinstance(value, property):
            self._items("property", (value.fget, value.fset, value.fdel))
        elif isinstance(value, functools.partial):
            self._items("partial", (value.func, value.args, value.keywords))
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, types.BuiltinFunctionType):
            if is_reader(value.__name__):
                raise _Unknown
            bound = value.__self__
            self._text("built in", f"{value.__module__}.{value.__qualname__}")
            self.value(None if isinstance(bound, types.ModuleType) else bound)
        elif isinstance(value, (np.ufunc, np.dtype)):
            self._text("numpy", repr(value))
        elif isinstance(value, logging.Logger):
            self._text("logger", value.name)
        elif not self._content(value):
            self._instance(value)
        elif type(value) not in _EXACT and not isinstance(value, np.generic):
            self._instance(value)  # more than its content: the default of a defaultdict, the mask of an array

    def _content(self, value: Any) -> bool:
        """Adds what a container, an array or a kind of number or text holds; returns False for anything else."""
        if isinstance(value, (np.ndarray, np.generic)):  # before numbers: a float64 of numpy is a float, too
            self._array(np.asarray(value))
        elif isinstance(value, (tuple, list)):
            self._items("tuple" if isinstance(value, tuple) else "list", value)
        elif isinstance(value, Mapping):
            self._items("mapping", (part for item in value.items() for part in item))
        elif isinstance(value, (set, frozenset)):
            self._text("set", sorted(repr(each) for each in value))
            if not all(type(each) in _PLAIN for each in value):
                raise _Unknown
        elif base := next((each for each in _PLAIN if isinstance(value, each)), None):
            self._text(base.__name__, base.__repr__(value))  # type: ignore[call-arg]  # of the base: classes may have one of their own
        else:
            return False
        return True

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
        self._items("defaults", (function.__defaults__, function.__kwdefaults__, vars(function)))
        cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
        if in_library(function.__code__.co_filename):
            if is_reader(function.__name__):  # under another name, or as an argument: the user's code does not show it
                raise _Unknown
            self._text("library", f"{function.__module__}.{function.__qualname__} {_version(function.__module__)}")
            self._items("closure", cells)  # a library's wrapper holds the user's function there
            return
        names = names_of(function.__code__)
        self.mentioned |= names
        self._imports(function.__code__, function.__globals__.get("__package__"), names)
        self._items("function", (function.__code__, cells))
        for name in sorted(names & function.__globals__.keys()):
            self._text("global", name)
            self._used(function.__globals__[name], names)

    def _imports(self, code: types.CodeType, package: str | None, names: Set[str]) -> None:
        try:
            for module in (module for each in with_inner(code) for module in imports_of(each, package)):
                if isinstance(module, str):
                    self.absent.add(module)
                    self._text("absent", module)
                elif isinstance(module, NotImported):
                    self._not_imported(module)
                else:
                    self._module(module, names)
        except Exception as error:  # not there, no Python, no text; a finder of somebody else's
            raise _Unknown from error

    def _not_imported(self, module: NotImported) -> None:
        """Adds a module by its source, as it will be when the code imports it: that of a user may do anything then."""
        if module in self._located:
            return
        self._located.add(module)
        self._text("module", module.name)
        if module.file is None or in_library(module.file):
            self._text("version", _version(module.name))
            return
        with open(module.file, "rb") as file:
            source = file.read()
        self._text("source", source)
        if module.file.endswith(".py"):
            code = compile(source, module.file, "exec", dont_inherit=True)
            if any(map(reads_outside, with_inner(code))):
                raise _Unknown
            names = names_of(code)
            self.mentioned |= names
            self._imports(code, module.package, names)

    def _code(self, code: types.CodeType) -> None:
        if reads_outside(code):
            raise _Unknown
        self._text("code", (code.co_code, code.co_names, code.co_varnames, code.co_argcount, code.co_flags))
        self._text("arguments", (code.co_posonlyargcount, code.co_kwonlyargcount, code.co_cellvars, code.co_freevars))
        self._text("handlers", getattr(code, "co_exceptiontable", b""))  # since Python 3.11
        self._items("constants", code.co_consts)

    def _used(self, value: Any, names: Set[str]) -> None:
        if isinstance(value, types.ModuleType):
            self._module(value, names)
        else:
            self.value(value)

    def _module(self, module: types.ModuleType, names: Set[str]) -> None:
        """Adds the source of a user's module and the values that `names` have in it: anybody may set them, or read them from a file."""
        self._text("module", module.__name__)
        file = getattr(module, "__file__", None)
        if file is None or in_library(file):
            self._text("version", _version(module.__name__))
            return
        if id(module) not in self._seen:
            self._seen[id(module)] = len(self._seen)
            self._source(module, file)
        for name in sorted(names & vars(module).keys()):
            if (id(module), name) not in self._attributes:
                self._attributes.add((id(module), name))
                self._text("attribute", name)
                self._used(vars(module)[name], names)

    def _source(self, module: types.ModuleType, file: str) -> None:
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
        known = module is not None and kind.__module__ != "__main__" and (file is None or in_library(file))
        self._text("class", f"{kind.__module__}.{kind.__qualname__} {_version(kind.__module__)}")
        if known and is_reader(kind.__name__):
            raise _Unknown
        if not known:
            members = {name: each for name, each in vars(kind).items() if _is_content(name, each)}
            reading = {name for name, each in members.items() if _reads_when_called(name, each)}
            self.reading |= reading
            members = {name: each for name, each in members.items() if name not in reading}
            self._items("members", (part for item in sorted(members.items()) for part in item))
            self._items("bases", (*kind.__bases__, *([type(kind)] if type(kind) is not type else [])))

    def _instance(self, value: Any) -> None:
        if hasattr(value, "as_datatype_enum"):  # a TensorFlow type
            self._text("dtype", value.as_datatype_enum)
            return
        kind = type(value)
        slots = {name: getattr(value, name, None) for name in slots_of(kind)}
        self._items("instance", (kind, getattr(value, "__dict__", None), slots))
        if any(map(is_native, kind.__mro__[:-1])):
            state = pickled(value)
            if state is None:
                raise _Unknown
            self._items("state", state)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # a name that has no value yet
        return False


def _reads_when_called(name: str, member: Any) -> bool:
    code = getattr(getattr(member, "__func__", member), "__code__", None)
    return isinstance(code, types.CodeType) and not name.startswith("__") and reads_outside(code)


def _is_content(name: str, member: Any) -> bool:
    return name not in _NO_CONTENT and not isinstance(member, (types.GetSetDescriptorType, types.MemberDescriptorType))


def _version(module: str) -> str:
    top = (module or "").partition(".")[0]
    # The same whether it is imported already or not.
    return installed(top) or str(getattr(sys.modules.get(top), "__version__", ""))
