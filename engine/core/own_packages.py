"""The four packages of Fullpass have common names: a user's own file of such a name must not take their place unseen.

Python takes the first `engine` on its path, for the whole process. With `python -m` the current directory comes first, and
the directory of a user's module is put first so that it can import its neighbours. Either could give Fullpass a user's
engine.py, or the user's `import engine` Fullpass's package.
"""

from __future__ import annotations

import importlib.machinery
import sys
from pathlib import Path

from engine.core.errors import ConfigError

__all__ = ["PACKAGES", "check_beside", "check_path", "module_words"]

PACKAGES = ("engine", "transforms", "trainers", "cluster")
_ROOT = Path(__file__).resolve().parents[2]
# What `-m` does, but for the directory that it puts first: a random.py there would be everybody's in the process, and is nobody's in
# a command. Last comes where the packages lie.
_RUN = (
    "import sys; root, module = sys.argv[1:3]; sys.argv[:3] = [module]; sys.path[:] = [*filter(None, sys.path), root]; "
    "import runpy; runpy.run_module(module, run_name='__main__', alter_sys=True)"
)


def module_words(module: str, *arguments: str) -> list[str]:
    """Returns the command line that runs a module of Fullpass in a new Python, which imports nothing from the working directory."""
    return [sys.executable, "-c", _RUN, str(_ROOT), module, *arguments]


def check_beside(directory: Path) -> None:
    """Checks a directory that is about to be put on Python's path.

    Raises:
        ConfigError: it holds a module named as a package of Fullpass; names the file.
    """
    if directory.resolve() == _ROOT:
        return
    for name in PACKAGES:
        for file in (directory / f"{name}.py", directory / name / "__init__.py"):
            if file.is_file():
                raise ConfigError(_message(file, name))


def check_path() -> None:
    """Checks that each package of Fullpass is the one that Python finds.

    Raises:
        ConfigError: something else of its name comes first on the path; names the file.
    """
    for name in PACKAGES:
        spec = importlib.machinery.PathFinder.find_spec(name)
        # None: an editable install finds its packages by a hook of its own, after all that is on the path.
        if spec is not None and spec.origin is not None and Path(spec.origin).resolve().parent.parent != _ROOT:
            raise ConfigError(_message(Path(spec.origin), name))


def _message(file: Path, name: str) -> str:
    return (
        f"{file} has the name of Fullpass's package {name!r}, and one would take the other's place; rename it, or run from a "
        f"directory without it (taken names: {', '.join(PACKAGES)})"
    )
