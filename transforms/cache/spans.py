"""Which files are a span of growing data: a directory each (`day=2026-11-23/`), or a file each where all lie in one directory."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from engine.storage import paths as storage

__all__ = ["spans_of"]


def spans_of(paths: Sequence[str]) -> dict[str, list[str]]:
    """Returns the files by name of their span.

    A name is the last part of the path with a hash of what precedes it: it does not depend on the other spans, so it stays as data
    grow.

    Args:
        paths: files of a data set.
    """
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault(storage.parent(path), []).append(path)
    if len(folders) > 1:
        return {_name(folder): files for folder, files in folders.items()}
    return {_name(path): [path] for path in paths}


def _name(path: str) -> str:
    above, last = storage.parent(path), re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    return f"{re.sub(r'[^0-9A-Za-z_.=-]', '_', last).lstrip('.')}-{hashlib.sha256(above.encode()).hexdigest()[:8]}"
