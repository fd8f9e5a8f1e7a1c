"""What a transform graph was made of: a file in its directory that names the data, for `fullpass lineage`."""

from __future__ import annotations

import json
import os
import posixpath
from typing import Any

from engine.core.errors import DataError
from engine.core.json_text import parse_json
from engine.storage import tree
from engine.storage.atomic import atomic_file
from engine.version import __version__

__all__ = ["read_provenance", "write_provenance"]

_NAME = "fullpass_provenance.json"  # TFT and TensorFlow look for the names that they know
_VERSION = 1


def write_provenance(graph: str | os.PathLike[str], manifest: Any) -> None:
    """Writes the file into a finished graph.

    Args:
        graph: its directory, local or a URI.
        manifest: `engine.Manifest` of the data that were analyzed.
    """
    # Nothing of the time or place: the same data give the same graph, byte by byte.
    facts = {
        "version": _VERSION,
        "fullpass": __version__,
        "data": {"manifest": manifest.hash, "records": manifest.num_records},
    }
    path = posixpath.join(os.fspath(graph), _NAME)
    text = json.dumps(facts, indent=1, sort_keys=True) + "\n"
    if not tree.is_local(path):
        tree.write_text(path, text)
        return
    with atomic_file(tree.local_path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_provenance(graph: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Returns what a graph was made of, None of one that TFT itself or an earlier version made.

    Raises:
        DataError: the file is damaged.
    """
    path = posixpath.join(os.fspath(graph), _NAME)
    text = tree.read_text(path)
    if text is None:
        return None
    try:
        facts = parse_json(text)
        data = facts["data"]
        stated = (data["manifest"], str), (data["records"], int), (facts["fullpass"], str)
        if facts["version"] == _VERSION and all(isinstance(value, kind) for value, kind in stated):
            return dict(facts)
    except (ValueError, KeyError, TypeError):
        pass
    raise DataError("does not say what the graph was made of; analyze again", path=path)
