"""Ties `state.json` to the tensors beside it: a digest of the state, and one of the tensors' index.

The index of a TensorFlow tensor bundle holds shape, place and CRC of every tensor, and reading a tensor checks its CRC: a
digest of the index therefore binds the data, too, without reading it a second time at every save.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.core.json_text import plain_json

__all__ = [
    "damage_of_state",
    "damage_of_tensors",
    "describe_tensors",
    "digest_of_state",
    "sealed_text",
]

_DIGEST = "sha256_of_state"
_TENSORS = "tensor_files"


def describe_tensors(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns file name to size, and SHA-256 of the index, of the tensor files in a local directory."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("tensors.*")):
        found[path.name] = {"bytes": path.stat().st_size}
        if path.suffix == ".index":
            found[path.name]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def sealed_text(state: Mapping[str, Any], folder: Path) -> str:
    """Returns the text of `state.json`: the state, what lies beside it in the local `folder`, and the digest of both."""
    whole = plain_json({**state, _TENSORS: describe_tensors(folder)})
    return json.dumps({_DIGEST: _digest(whole), **whole}, allow_nan=False)


def _digest(state: Mapping[str, Any]) -> str:
    text = json.dumps({k: v for k, v in state.items() if k != _DIGEST}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_state(state: Mapping[str, Any]) -> str | None:
    """Returns the digest that a state was sealed with, or None where it was not."""
    value = state.get(_DIGEST)
    return value if isinstance(value, str) else None


def damage_of_state(state: Mapping[str, Any]) -> str | None:
    """Returns what is wrong with a state that was read, or None."""
    try:
        holds = state.get(_DIGEST) == _digest(state)
    except ValueError:  # it has a number that was never written: NaN, or one beyond the range of float64
        holds = False
    return None if holds else "it was changed after it was written (its digest does not fit)"


def damage_of_tensors(state: Mapping[str, Any], folder: Path) -> str | None:
    """Returns what is wrong with the tensor files of a state in a local directory, or None where they are its own."""
    found = describe_tensors(folder)
    for name, written in state.get(_TENSORS, {}).items():
        here = found.get(name)
        if here is None:
            return f"{name} is missing"
        if here["bytes"] != written["bytes"]:
            return f"{name} has {here['bytes']:,} bytes, {written['bytes']:,} were written"
        if here.get("sha256") != written.get("sha256"):
            return f"{name} belongs to another checkpoint, or was changed (its digest does not fit)"
    return None
