"""What a served model is and where it comes from, beside the model: for programs as JSON, for people as Markdown."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.core.configs import convert
from engine.core.errors import ConfigError, DataError
from engine.core.json_text import parse_json, plain_json
from engine.core.redaction import redact_values
from engine.core.text_encoding import in_markdown
from engine.machine.clock import utc_now
from engine.version import __version__
from trainers.export.digest import CARD_JSON, CARD_MARKDOWN, tree_digest
from trainers.export.options import ExportOptions

__all__ = ["CARD_JSON", "CARD_MARKDOWN", "config_digest", "make_card", "read_card", "write_card"]

CARD_VERSION = 1
# What others read in a card, where it is there.
_FIELDS: dict[str, Any] = {
    "sha256": str | None,
    "config_sha256": str | None,
    **dict.fromkeys(("config", "code", "model"), Mapping[str, Any]),
    **dict.fromkeys(("data", "transform_graph", "checkpoint"), Mapping[str, Any] | None),
}
# And in a part of it, where the part is there: True for what cannot be missing then.
_PARTS: dict[str, dict[str, tuple[Any, bool]]] = {
    "model": {"parameters": (int | None, False), "class": (str, False)},
    "data": {"manifest": (str, True), "records": (int, False)},
    "transform_graph": {"sha256": (str, True), "path": (str, False)},
    "checkpoint": {"step": (int | None, False), "path": (str | None, False), "sha256": (str | None, False)},
}


def make_card(
    options: ExportOptions,
    *,
    name: str,
    model: Mapping[str, Any],
    signatures: Mapping[str, Any],
    raw_features: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns the card as JSON-able values.

    Args:
        options: of the export; the card holds a digest of the transform graph's files.
        name: of the model.
        model: class, library, number of parameters.
        signatures: name to inputs and outputs.
        raw_features: feature name to what a raw example must hold.

    Raises:
        ConfigError: the step, path or digest of the checkpoint is of another type.
    """
    graph, checkpoint = options.transform_graph, options.checkpoint
    config = redact_values(plain_json(options.config or {}))  # a card goes wherever the model goes
    card = {
        "version": CARD_VERSION,
        "name": name,
        "created": utc_now(),
        "model": dict(model),
        "label": list(options.labels),
        "signatures": dict(signatures),
        "raw_features": dict(raw_features),
        "transform_graph": None if graph is None else {"sha256": tree_digest(graph), "path": os.path.abspath(graph)},
        "checkpoint": None if checkpoint is None else redact_values(checkpoint),
        "data": _data(options.data_manifest),
        "config": config,
        "config_sha256": config_digest(config),
        "metrics": plain_json(options.metrics or {}),
        "code": _code(),
        "software": _software(),
    }
    _check(card)  # what cannot be read must not be written
    return card


def write_card(card: Mapping[str, Any], directory: Path) -> None:
    """Writes both forms of the card into a model's directory, which is not visible yet."""
    (directory / CARD_JSON).parent.mkdir(parents=True, exist_ok=True)
    (directory / CARD_JSON).write_text(
        json.dumps(card, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8"
    )
    (directory / CARD_MARKDOWN).write_text(_markdown(card), encoding="utf-8")


def read_card(directory: str | Path) -> dict[str, Any] | None:
    """Returns the card of an exported model, or None where it has none (a model that was not exported here).

    Raises:
        DataError: the card is damaged or of a later version.
    """
    path = Path(directory) / CARD_JSON
    try:
        card = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(f"is not JSON: {error}; export the model again", path=str(path)) from None
    if not isinstance(card, dict) or card.get("version") != CARD_VERSION:
        raise DataError(f"has another version than {CARD_VERSION}; export the model again", path=str(path))
    try:
        _check(card)
    except ConfigError as error:
        raise DataError(f"is a damaged model card: {error}; export the model again", path=str(path)) from None
    return card


def _check(card: Mapping[str, Any]) -> None:
    for key, hint in _FIELDS.items():
        if key in card:
            convert(hint, card[key], key)
    for part, fields in _PARTS.items():
        inside = card.get(part) or {}
        for key, (hint, needed) in fields.items() if inside else ():
            if needed or key in inside:
                convert(hint, inside.get(key), f"{part}.{key}")


def config_digest(config: Mapping[str, Any]) -> str:
    """Returns the sha256 of a card's configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _data(manifest: Any) -> dict[str, Any] | None:
    if manifest is None or isinstance(manifest, str):
        return None if manifest is None else {"manifest": manifest}
    return {"manifest": manifest.hash, "records": manifest.num_records, "files": len(manifest.files)}


def _code() -> dict[str, Any]:
    """Returns the commit of the directory that the program runs in, where it is a git checkout."""
    code: dict[str, Any] = {"fullpass": __version__}
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return code
    if commit.returncode == 0 and changed.returncode == 0:
        code |= {"commit": commit.stdout.strip(), "uncommitted_changes": bool(changed.stdout.strip())}
    return code


def _software() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("tensorflow", "keras", "tf-keras", "tensorflow-transform", "pyarrow"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _markdown(card: Mapping[str, Any]) -> str:
    """Names and values of others stand there as they are, and format nothing."""
    lines = [f"# Model card: {_shown(card['name'])}", "", f"Exported {card['created']}.", ""]
    digest = {"sha256": card["sha256"]} if "sha256" in card else {}
    lines += _section("Model", card["model"] | {"label": ", ".join(card["label"]) or "none"} | digest)
    lines += _section("Metrics", card["metrics"])
    lines += ["## What to ask it with", ""]
    for name, signature in card["signatures"].items():
        lines.append(f"- {_shown(name)}: {_tensors(signature['inputs'])} → {_tensors(signature['outputs'])}")
    lines += ["", "A raw example holds:", "", "| feature | kind | type | shape | default |", "|---|---|---|---|---|"]
    for name, feature in card["raw_features"].items():
        cells = (name, feature["kind"], feature["dtype"], feature.get("shape", ""), feature.get("default", ""))
        lines.append(f"| {' | '.join(map(_shown, cells))} |")
    lines += ["", *_section("Training data", card["data"] or {})]
    lines += _section("Transform graph", card["transform_graph"] or {})
    lines += _section("Configuration", card["config"])
    lines += _section("Code", card["code"]) + _section("Software", card["software"])
    return "\n".join(lines)


def _section(title: str, values: Mapping[str, Any]) -> list[str]:
    cells = ((name, json.dumps(value) if isinstance(value, dict | list) else value) for name, value in values.items())
    rows = [f"| {_shown(name)} | {_shown(value)} |" for name, value in cells]
    return [f"## {title}", "", *(["| | |", "|---|---|", *rows] if rows else ["Not given."]), ""]


def _tensors(tensors: Mapping[str, Any]) -> str:
    shown = [_shown(f"{name} {t['dtype']}{t['shape']}") for name, t in tensors.items()]
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")


def _shown(value: Any) -> str:
    return in_markdown(str(value), sys.maxsize)
