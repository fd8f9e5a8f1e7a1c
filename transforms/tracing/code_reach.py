"""What Python code reaches outside of itself: names, modules that it imports while it runs, files, installed packages."""

from __future__ import annotations

import dataclasses
import dis
import functools
import hashlib
import importlib.util
import os
import sys
import sysconfig
import types
from collections.abc import Iterator, Set
from importlib import metadata
from pathlib import Path

__all__ = [
    "NotImported",
    "changes_path",
    "imports_of",
    "in_library",
    "installed",
    "is_reader",
    "names_of",
    "reads_outside",
    "with_inner",
]

_STANDARD = tuple({sysconfig.get_paths()[name] + os.sep for name in ("stdlib", "platstdlib")})
_PACKAGES = tuple({sysconfig.get_paths()[name] + os.sep for name in ("purelib", "platlib")})
# Code that calls these depends on what is in no code: files, the environment, text that is run.
_OUTSIDE = frozenset(
    {
        *("open", "fopen", "urlopen", "GFile", "read_text", "read_bytes", "read_file", "memmap", "fromfile"),
        *("loadtxt", "genfromtxt", "load", "load_model", "read_csv", "read_json", "read_parquet", "read_table"),
        *("read_pickle", "read_feather", "read_excel", "read_orc", "ParquetFile", "ZipFile", "GzipFile"),
        *("listdir", "scandir", "glob", "iterdir", "connect"),
        *("environ", "getenv", "eval", "exec", "__import__", "import_module"),
    }
)
_PATHS = frozenset({"path", "meta_path", "path_hooks", "path_importer_cache", "addsitedir", "syspath"})


@dataclasses.dataclass(frozen=True)
class NotImported:
    """A module that is there and was not imported.

    Attributes:
        name: in full.
        file: of its source or code; None where it has none.
        package: that its relative imports start from.
    """

    name: str
    file: str | None
    package: str


def with_inner(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yields a code, and those of its inner functions and classes."""
    yield code
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from with_inner(each)


def names_of(code: types.CodeType) -> set[str]:
    """Returns the names of globals and attributes in a code, its inner functions too, and its texts, which `getattr` may take."""
    found: set[str] = set()
    for each in with_inner(code):
        found.update(each.co_names, (text for text in each.co_consts if isinstance(text, str)))
    return found


def reads_outside(code: types.CodeType) -> bool:
    """Returns whether a code reads files, the environment or text that it runs: what it does is not in the code alone."""
    return not _OUTSIDE.isdisjoint(code.co_names)


def is_reader(name: str) -> bool:
    """Returns whether a library's function or class of this name reads files, the environment or text that it runs."""
    return name in _OUTSIDE


def changes_path(names: Set[str]) -> bool:
    """Returns whether code with these names may change where modules are found: what is absent now may be there when it runs."""
    return not _PATHS.isdisjoint(names)


def imports_of(code: types.CodeType, package: str | None) -> list[types.ModuleType | NotImported | str]:
    """Returns the modules that a code imports when it runs, and the names of those whose package is not installed.

    Nothing is imported for that: what a user's module does when it is imported is not for a hash to do.

    Args:
        code: without its inner functions.
        package: that relative imports start from.

    Raises:
        ImportError: one of an installed package is not there.
    """
    found: list[types.ModuleType | NotImported | str] = []
    constants: list[object] = []
    for each in dis.get_instructions(code):
        if each.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
            constants.append(each.argval)
        elif each.opname == "IMPORT_NAME":
            level, members = constants[-2:]
            name = importlib.util.resolve_name("." * int(level) + each.argval, package) if level else each.argval  # type: ignore[call-overload]
            modules = _located(name)
            if modules is None and "." in name and _located(name.partition(".")[0]) is not None:
                raise ImportError(f"no module {name}")
            found += [name] if modules is None else modules[-1:] if name in sys.modules else modules
            for member in members if modules is not None and isinstance(members, tuple) else ():
                # A module of the package, or what it sets when it is imported.
                if not hasattr(sys.modules.get(name), member):
                    found += (_located(f"{name}.{member}") or [])[-1:]
    return found


def _located(name: str) -> list[types.ModuleType | NotImported] | None:
    """Returns a module after the packages around it, of which none is imported for that; None where it is not there."""
    found: list[types.ModuleType | NotImported] = []
    parts, path = name.split("."), None
    for end in range(1, len(parts) + 1):
        full = ".".join(parts[:end])
        if full in sys.modules:  # also what is in no package: `os.path`
            if sys.modules[full] is None:  # somebody forbids it
                return None
            found.append(sys.modules[full])
            path = getattr(sys.modules[full], "__path__", None)
            continue
        if end > 1 and path is None:
            return None  # in a module that is no package
        finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
        spec = next(filter(None, (find(full, path) for find in finders if find is not None)), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
        around = full if path is not None else full.rpartition(".")[0]
        found.append(NotImported(full, spec.origin if spec.has_location else None, around))
    return found


def in_library(file: str, standard: tuple[str, ...] = _STANDARD) -> bool:
    """Returns whether a source file is of Python's standard library or of an installed package: its version stands for it.

    Args:
        file: path of the source.
        standard: directories of the standard library, each with a separator at its end; some installations have all in one.
    """
    for root in _PACKAGES:
        if file.startswith(root):
            top = Path(file).relative_to(root).parts[0].partition(".")[0]
            return installed(top) is not None
    return file.startswith(standard) or file.startswith("<frozen")


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
        return _described(metadata.distribution(top), top)
    except (metadata.PackageNotFoundError, ValueError):
        names = sorted(set(metadata.packages_distributions().get(top, ())))  # several share a namespace (`google`)
        return "; ".join(_described(metadata.distribution(name), top) for name in names) or None


def _described(distribution: metadata.Distribution, top: str) -> str:
    lines = (distribution.read_text("RECORD") or "").splitlines()
    own = sorted(line for line in lines if line.startswith((f"{top}/", f"{top}.")) and "__pycache__" not in line)
    return f"{distribution.version} {hashlib.blake2b(repr(own).encode(), digest_size=16).hexdigest()}"
