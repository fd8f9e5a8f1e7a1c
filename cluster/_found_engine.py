"""Says so where the `engine` that Python finds is not Fullpass's: nothing of ours could be imported to say it later."""

from __future__ import annotations

import os

import engine

__all__: list[str] = []

_root, _found = (os.path.dirname(os.path.dirname(os.path.realpath(file))) for file in (__file__, engine.__file__ or ""))
if _found != _root or not hasattr(engine, "__path__"):
    raise ImportError(
        f"{engine.__file__} has the name of Fullpass's package 'engine' and takes its place: rename it, or run from a directory "
        "without it"
    )
