"""The user's own Python file: preprocessing_fn, build_model and hooks, loaded and called with errors that name them."""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.core.errors import ConfigError
from engine.core.own_packages import PACKAGES, check_beside
from engine.core.run_log import tell
from engine.machine.processes import working_directory

__all__ = ["load_user_module", "packages_around", "user_function"]


def load_user_module(path: str | Path) -> ModuleType:
    """Returns the module in the Python file `path`, the same object each time while the file is unchanged.

    The file's directory is put on `sys.path`, so that it can import the modules beside it. Where it imports relatively (`from . import x`),
    it is loaded as a module of the package that its `__init__.py` files say, and the directory of that is put behind its own.

    Raises:
        ConfigError: the file is missing, is not Python, or fails while it is imported.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise ConfigError(
            f"module: no file {path}; give the path of your Python file, with preprocessing_fn(inputs) or build_model(context)"
        )
    if file.suffix != ".py":
        raise ConfigError(f"module: {path} is not a .py file")
    source = file.read_bytes()
    name = f"fullpass_user_{file.stem}_{hashlib.sha256(bytes(file) + source).hexdigest()[:12]}"
    package, above = _package_of(file, source)
    name = f"{package}.{name}" if package else name
    if name in sys.modules:
        return sys.modules[name]
    check_beside(file.parent)
    if package:
        check_beside(above)
        _check_package(file, above / package.partition(".")[0])
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _put_on_path(str(file.parent), str(above), package.partition(".")[0])
    here = working_directory()
    try:
        # Not the loader's exec_module: its byte-code cache takes a file changed within a second, at equal length, for the old one.
        exec(compile(source, str(file), "exec", dont_inherit=True), module.__dict__)  # noqa: S102  # nosec B102 - the user's own module
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception | SystemExit):
            raise
        hint = "; an __init__.py beside it makes a package of its directory" if "no known parent" in str(error) else ""
        raise ConfigError(f"{path}{_line_in(error, file)}: {_said(error)}{hint}") from error
    finally:
        stuck = _go_back(here, path)
    if stuck is not None:
        del sys.modules[name]
        raise ConfigError(
            f"{path} leaves the working directory while it is imported, and {here} cannot be gone back to: {stuck}"
        ) from stuck
    _pickle_by_value(module)
    return module


def _package_of(file: Path, source: bytes) -> tuple[str, Path]:
    """Returns the package that a file with relative imports is in, and the directory that holds it; no name for other files."""
    names, above = packages_around(file.parent)
    if not names or names[0] in PACKAGES:
        return "", above
    try:
        relative = any(isinstance(each, ast.ImportFrom) and each.level for each in ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):  # what it is says whoever compiles it
        relative = False
    return ".".join(names) if relative else "", above


def packages_around(directory: Path) -> tuple[list[str], Path]:
    """Returns the names of the packages that a directory is in, from the outermost to its own, and what holds them: by `__init__.py`."""
    names: list[str] = []
    while (directory / "__init__.py").is_file():
        names.insert(0, directory.name)
        directory = directory.parent
    return names, directory


def _put_on_path(directory: str, above: str, package: str) -> None:
    if directory not in sys.path:
        sys.path.insert(0, directory)
    if not package:
        return
    at = sys.path.index(directory)
    # A module beside the file goes before one of its name above the package, but for one that has the package's own name
    # (features/features.py): nothing of the package could be imported behind it, in this process or in a worker.
    if importlib.machinery.PathFinder.find_spec(package, [directory]) is None:
        if (
            above not in sys.path[: at + 2]
        ):  # further behind, as an editable install has it, another package may have the name
            sys.path.insert(at + 1, above)
    elif above not in sys.path[:at]:
        sys.path.insert(at, above)


def _check_package(file: Path, directory: Path) -> None:
    loaded = sys.modules.get(directory.name)
    if loaded is not None and directory not in [Path(each).resolve() for each in getattr(loaded, "__path__", ())]:
        raise ConfigError(
            f"module: {file} imports from its package {directory.name!r}, and another of that name is imported already "
            f"({getattr(loaded, '__file__', None)}); rename the directory {directory}"
        )


def user_function(path: str | Path, name: str) -> Callable[..., Any]:
    """Returns the function `name` of the user's file `path`, wrapped whose errors name file, line and function.

    Raises:
        ConfigError: the module cannot be loaded or has no such function; and, when called, the function raised.
    """
    module = load_user_module(path)
    function = getattr(module, name, None)
    if not callable(function):
        there = sorted(
            k for k, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__
        )
        raise ConfigError(f"{path} has no function {name}; it has {', '.join(there) or 'no functions'}")
    return _Named(str(path), name, function)


class _Named:
    """Calls the user's function; its errors become ConfigErrors with the line of the user's file that raised."""

    def __init__(self, path: str, name: str, function: Callable[..., Any]) -> None:
        self._path, self._function = path, function
        self.__name__ = self.__qualname__ = name
        self.__doc__ = function.__doc__
        self.__wrapped__ = function  # inspect.signature sees the user's own

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._function(*args, **kwargs)
        except (Exception, SystemExit) as error:  # a KeyboardInterrupt goes on
            where = f"{self._path}{_line_in(error, Path(self._path).resolve())}"
            raise ConfigError(f"{where}: {self.__name__} raised {_said(error)}") from error


def _go_back(directory: str | None, module: str | Path) -> OSError | None:
    """Goes back where the import of a module left: half of the command's files would come to lie elsewhere. Returns why it cannot."""
    there = working_directory()
    if directory is not None and there != directory:
        try:
            os.chdir(directory)
        except OSError as error:  # it was deleted, say
            return error
        tell(
            f"{module} changes the working directory to {there} while it is imported; it stays {directory}, to which paths refer"
        )
    return None


def _said(error: BaseException) -> str:
    """Returns what an error of the user's code says.

    sys.exit() there is one, too: the whole command would end with its code, 0 among them, and nothing done.
    """
    if isinstance(error, SystemExit):
        return (
            f"SystemExit({error.code!r}): the file is imported and its functions are called, so it must not end the process; "
            'put what it does as a program behind `if __name__ == "__main__":`'
        )
    return f"{type(error).__name__}: {error}"


def _line_in(error: BaseException, file: Path) -> str:
    """Returns ":LINE" of the innermost frame that lies in the file, or an empty string."""
    line, trace = "", error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == file:
            line = f":{trace.tb_lineno}"
        trace = trace.tb_next
    if not line and isinstance(error, SyntaxError) and error.lineno:
        line = f":{error.lineno}"
    return line


def _pickle_by_value(module: ModuleType) -> None:
    """A Beam or Ray worker cannot import the file by this name: its functions must travel whole."""
    try:
        import cloudpickle
    except ImportError:  # nothing that would send them is installed either
        return
    cloudpickle.register_pickle_by_value(module)
