"""What Python code reaches outside of itself: names, modules that it imports while it runs, files, installed packages."""

from __future__ import annotations

import dis
import functools
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
import types
from importlib import metadata
from pathlib import Path

__all__ = ["imports_of", "in_library", "installed", "names_of", "reads_outside"]

_STANDARD = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib")})
_PACKAGES = tuple({sysconfig.get_paths()[name] for name in ("purelib", "platlib")})
# Code that calls these depends on what is in no code: files, the environment, text that is run.
_OUTSIDE = frozenset(
    {
        *("open", "fopen", "urlopen", "GFile", "read_text", "read_bytes", "read_file", "memmap", "fromfile"),
        *("loadtxt", "genfromtxt", "load", "load_model", "read_csv", "read_json", "read_parquet", "read_table"),
        *("environ", "getenv", "eval", "exec", "__import__", "import_module"),
    }
)


def names_of(code: types.CodeType) -> set[str]:
    """Returns the names of globals and attributes in a code, its inner functions too, and its texts, which `getattr` may take."""
    inner = (names_of(each) for each in code.co_consts if isinstance(each, types.CodeType))
    return {*code.co_names, *(each for each in code.co_consts if isinstance(each, str))}.union(*inner)


def reads_outside(code: types.CodeType) -> bool:
    """Returns whether a code reads files, the environment or text that it runs: what it does is not in the code alone."""
    return not _OUTSIDE.isdisjoint(code.co_names)


def imports_of(code: types.CodeType, package: str | None) -> list[types.ModuleType]:
    """Returns the modules that a code imports when it runs.

    Args:
        code: without its inner functions.
        package: that relative imports start from.

    Raises:
        ImportError: one cannot be imported.
    """
    found: list[types.ModuleType] = []
    constants: list[object] = []
    for each in dis.get_instructions(code):
        if each.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
            constants.append(each.argval)
        elif each.opname == "IMPORT_NAME":
            level, members = constants[-2:]
            name = importlib.util.resolve_name("." * int(level) + each.argval, package) if level else each.argval  # type: ignore[call-overload]
            module = importlib.import_module(name)
            found.append(module)
            for member in members if isinstance(members, tuple) else ():
                if not hasattr(module, member):
                    found.append(importlib.import_module(f"{name}.{member}"))
    return found


def in_library(file: str) -> bool:
    """Returns whether a source file is of Python's standard library or of an installed package: its version stands for it."""
    for root in _PACKAGES:
        if file.startswith(root):
            top = Path(file).relative_to(root).parts[0].partition(".")[0]
            return installed(top) is not None
    return file.startswith(_STANDARD) or file.startswith("<frozen")


@functools.cache
def installed(top: str) -> str | None:
    """Returns what an installed package is: its version and a hash of its files' own; None where nothing says so.

    A package of one's own is often installed again under the same version.

    Args:
        top: name of the package as it is imported.
    """
    if top in sys.stdlib_module_names:
        return sys.version
    try:
        distribution = metadata.distribution(top)
    except (metadata.PackageNotFoundError, ValueError):
        names = metadata.packages_distributions().get(top)
        if not names:
            return None
        distribution = metadata.distribution(names[0])
    lines = (distribution.read_text("RECORD") or "").splitlines()
    own = sorted(line for line in lines if line.startswith((f"{top}/", f"{top}.")) and "__pycache__" not in line)
    return f"{distribution.version} {hashlib.blake2b(repr(own).encode(), digest_size=16).hexdigest()}"
