"""What each process does first under `make test`: map the file of hits, import our packages with marks, refuse what is deprecated.

Run at the start of every interpreter of the environment, by a .pth file: it imports little, and only what interpreters have.
"""

import builtins
import importlib.machinery
import marshal
import mmap
import os
import sys
import warnings
from typing import Any

HITS = "__line_hits__"
VARIABLE = "LINE_HITS"  # the directory with the bytes and the code, for this process and its children
PACKAGES = ("engine", "transforms", "trainers", "cluster")
OURS = rf"({'|'.join(PACKAGES)})(\.|$)"  # names of our modules, as filters of warnings have them
DEPRECATIONS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, code: str) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> Any:
        try:
            with open(self._code, "rb") as file:
                return marshal.load(file)
        except OSError:
            return super().get_code(fullname)


class _Finder:
    def __init__(self, root: str, directory: str) -> None:
        self._root, self._directory = root, directory

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in PACKAGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if (
            spec
            and type(spec.loader) is importlib.machinery.SourceFileLoader
            and str(spec.origin).startswith(self._root)
        ):
            relative = str(spec.origin).removeprefix(self._root)
            spec.loader = _Loader(name, str(spec.origin), f"{self._directory}/code/{relative}")
        return spec


def start(directory: str) -> None:
    """Counts the lines of our packages that this process imports from now on."""
    try:
        with open(f"{directory}/hits", "r+b") as file:
            setattr(builtins, HITS, mmap.mmap(file.fileno(), 0))
        with open(f"{directory}/root") as text:
            root = text.read()
    except OSError:  # a process that outlived the directory, or of a user who may not read it
        return
    sys.meta_path.insert(0, _Finder(root, directory))  # type: ignore[arg-type]
    # PYTHONWARNINGS takes whole names of modules alone, and pytest's filters reach no child: what tests start is held to them here.
    for category in DEPRECATIONS:
        warnings.filterwarnings("error", category=category, module=OURS)


if __name__ == "line_hits" and VARIABLE in os.environ:
    start(os.environ[VARIABLE])
