"""The span cache: partial results of an analysis kept for the next one over grown data."""

from __future__ import annotations

import importlib
from typing import Any

from transforms.cache.cache import CachingRunner
from transforms.cache.spans import spans_of

__all__ = ["CachingRunner", "analyze_spans", "spans_of"]


def __getattr__(name: str) -> Any:
    # Kept where users import it from; its module is above this package, which `analyze` uses.
    if name == "analyze_spans":
        return importlib.import_module("transforms.analyze_spans").analyze_spans
    raise AttributeError(f"module 'transforms.cache' has no attribute {name!r}")
