"""A serving directory of numbered versions: only a blessed model goes in, whole, and every step can be taken back.

SERVING/1, SERVING/2, ... is what TensorFlow Serving and `trainers.serving.live_model.LiveModel` watch: they serve the highest number.
So a push gives the model the next number, and a rollback gives the version that served before the next number again;
a number never changes its meaning. SERVING/.history.json says which model came from where.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.core.errors import ConfigError, DataError, NotMet
from engine.core.json_text import parse_json
from engine.machine.clock import utc_now
from engine.machine.lock import locked
from engine.storage.atomic import atomic_directory, atomic_file, remove_leftovers
from engine.storage.uris import require_local
from trainers.export.digest import CARD_JSON, EVALUATION_JSON, model_digest
from trainers.export.export import latest_version, version_directories, version_numbers

if TYPE_CHECKING:
    from trainers.evaluation.result import EvaluationResult

__all__ = ["NotBlessed", "current", "history", "push", "rollback", "versions"]

_HISTORY = ".history.json"
VERSION = 1


class NotBlessed(NotMet, ConfigError):
    """The model did not reach its thresholds."""


def push(
    model_dir: str | os.PathLike[str],
    serving_dir: str | os.PathLike[str],
    *,
    evaluation: EvaluationResult | str | os.PathLike[str] | None = None,
    force: bool = False,
    keep: int | None = None,
) -> Path:
    """Returns the path of the new version in the serving directory, a copy of the model.

    A server sees it whole or not at all; a push that is killed leaves the directory as it was.

    Args:
        model_dir: SavedModel of `fullpass export`, or the directory of its versions (the newest is taken).
        serving_dir: directory of the numbered versions; made where missing.
        evaluation: an `EvaluationResult`, or the JSON file of one, of this very model.
        force: push without a blessing; the history says so.
        keep: newest versions that are kept, at least 2 (one to roll back to); None keeps all.

    Raises:
        ConfigError: no model, no evaluation, one of another model, or a directory that is a URI.
        NotBlessed: the model did not reach its thresholds.
        DataError: the model changed while it was pushed.
    """
    if keep is not None and keep < 2:
        raise ConfigError(f"keep={keep}: at least 2, the served version and one to roll back to, or None for all")
    root = require_local("serving directory", serving_dir)
    source = latest_version(model_dir)
    digest = model_digest(source)
    result = _loaded(source, evaluation)
    blessed = _checked_blessing(source, digest, result, force)
    if source.resolve().parent == root.resolve():
        raise ConfigError(f"{source} lies in the serving directory already; push from the directory of the export")
    # Where it lies, not the link that was followed: that leads elsewhere after the next export.
    entry = {"action": "push", "source": os.path.realpath(source), "blessed": blessed, "forced": force and not blessed}
    with _only_writer(root):
        version = _add(root, source, entry, digest, result)
        for old in [*version_directories(root).values()][: -keep if keep else 0]:
            _remove(old)
    return version


def rollback(serving_dir: str | os.PathLike[str], to: int | None = None) -> Path:
    """Returns the path of the new version, a copy of an earlier one, which is served from now on.

    Args:
        serving_dir: directory of the numbered versions.
        to: which version comes back; None takes the one that was served before the current one. Two rollbacks in a row
            so go two steps back.

    Raises:
        ConfigError: no such version.
    """
    root = require_local("serving directory", serving_dir)
    with _only_writer(root):
        lie = version_directories(root)
        there = [*lie]
        if not there:
            raise ConfigError(f"{root}: no version is there; nothing to roll back")
        target = _before(root, there[-1]) if to is None else to
        earlier = ", ".join(map(str, there[:-1])) or "none"
        if target is None:
            raise ConfigError(
                f"{root}: cannot go back: no version that is still there was served before what {there[-1]} is; name one of "
                f"them, earlier versions are {earlier}"
            )
        if target not in there or target == there[-1]:
            raise ConfigError(
                f"{root}: cannot go back to version {target}: served is {there[-1]}, earlier versions are {earlier}"
            )
        entry = {
            "action": "rollback",
            "source": os.path.realpath(lie[target]),
            "of": _origins(root).get(target, target),
        }
        return _add(root, lie[target], entry, _digest_as_pushed(root, target, lie[target]))


def versions(serving_dir: str | os.PathLike[str]) -> list[int]:
    """Returns the numbers of the versions, ascending; the last is served."""
    return version_numbers(serving_dir)


def current(serving_dir: str | os.PathLike[str]) -> Path:
    """Returns the path of the version that is served.

    Raises:
        ConfigError: there is none.
    """
    there = version_directories(serving_dir)
    if not there:
        raise ConfigError(f"{os.fspath(serving_dir)}: no version is there; `fullpass push` makes one")
    return there[max(there)]


def history(serving_dir: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Returns what was done to the directory, oldest first: action, version, source, time and blessing.

    Raises:
        DataError: the history is damaged.
    """
    path = require_local("serving directory", serving_dir) / _HISTORY
    try:
        stored = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise DataError(f"is not a history of pushes: {error}", path=str(path)) from None
    if not isinstance(stored, dict) or stored.get("version") != VERSION:
        raise DataError(f"is not a history of version {VERSION}", path=str(path))
    entries = stored.get("entries")
    if not isinstance(entries, list) or not all(isinstance(e, dict) and _is_number(e.get("version")) for e in entries):
        raise DataError("is a damaged history of pushes: its entries are not a list of versions", path=str(path))
    return entries


def _is_number(version: Any) -> bool:
    return type(version) is int and 0 <= version < 1 << 63


def _digest_as_pushed(root: Path, version: int, directory: Path) -> str:
    """Returns the digest of a version.

    Raises:
        DataError: its files are not those that were pushed.
    """
    found = model_digest(directory)
    stated = next((e.get("sha256") for e in history(root) if e["version"] == version), None)
    if stated not in (None, found):
        raise DataError(
            f"is not the model that was pushed: its sha256 is {found}, pushed was {stated}", path=str(directory)
        )
    return found


def _loaded(source: Path, evaluation: EvaluationResult | str | os.PathLike[str] | None) -> EvaluationResult | None:
    from trainers.evaluation.result import EvaluationResult

    if not isinstance(evaluation, (str, os.PathLike)):
        return evaluation
    try:
        return EvaluationResult.load(evaluation)
    except FileNotFoundError:
        raise ConfigError(f"no evaluation {os.fspath(evaluation)}; `fullpass evaluate --out` writes one") from None


def _checked_blessing(source: Path, digest: str, evaluation: EvaluationResult | None, force: bool) -> bool:
    """Returns whether this very model, byte by byte, was blessed; where it lay when it was evaluated does not matter."""
    if evaluation is None:
        if force:
            return False
        raise ConfigError(
            f"{source}: no evaluation; give the result of `fullpass evaluate` with thresholds, or force the push"
        )
    if evaluation.model_sha256 != digest:
        raise ConfigError(
            f"the evaluation is of another model: {evaluation.model} with sha256 {evaluation.model_sha256 or 'unknown'}, "
            f"while {source} is {digest}; evaluate the model that is pushed"
        )
    if not evaluation.blessed and not force:
        why = "; ".join(evaluation.failures) or "it was evaluated without thresholds"
        raise NotBlessed(f"{source} is not blessed: {why}")
    return evaluation.blessed


def _add(
    root: Path, source: Path, entry: dict[str, Any], digest: str, evaluation: EvaluationResult | None = None
) -> Path:
    entries = history(root)
    # A number that was ever used does not come again, even when its version was removed.
    number = max([0, *version_numbers(root), *(e["version"] for e in entries)]) + 1
    with atomic_directory(root / str(number)) as directory:
        shutil.copytree(source, directory, dirs_exist_ok=True)
        if evaluation is not None:
            (directory / EVALUATION_JSON).parent.mkdir(parents=True, exist_ok=True)
            (directory / EVALUATION_JSON).write_text(
                json.dumps(evaluation.as_json(), indent=2) + "\n", encoding="utf-8"
            )
        # What was copied, not what was looked at: the source may have changed in between.
        if (copied := model_digest(directory)) != digest:
            raise DataError(
                f"changed while it was copied: its sha256 was {digest}, the copy's is {copied}; nothing was pushed",
                path=str(source),
            )
        about = {"sha256": digest, "card_sha256": _sha256(directory / CARD_JSON)}
        about["evaluation_sha256"] = _sha256(directory / EVALUATION_JSON)
        # The entry is written before the version is seen: a push killed in between wastes a number and nothing else.
        with atomic_file(root / _HISTORY) as temporary:
            entries = [*entries, {**entry, **about, "version": number, "time": utc_now()}]
            temporary.write_text(
                json.dumps({"version": VERSION, "entries": entries}, indent=1) + "\n", encoding="utf-8"
            )
    return root / str(number)


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _before(root: Path, served: int) -> int | None:
    """Returns the version that was served before the content that is served now came in, None where it is gone."""
    there = version_numbers(root)
    content = _origins(root).get(served, served)
    earlier = [v for v in there if v < content]
    return earlier[-1] if earlier else None


def _origins(root: Path) -> dict[int, int]:
    """Returns each version with the pushed version whose copy it is."""
    return {e["version"]: e.get("of", e["version"]) for e in history(root)}


def _remove(version: Path) -> None:
    # Out of sight first: a server that lists the directory never sees half a version.
    hidden = version.parent / f".{version.name}.tmp-{os.getpid()}-old"
    os.replace(version, hidden)
    shutil.rmtree(hidden, ignore_errors=True)


@contextlib.contextmanager
def _only_writer(root: Path) -> Iterator[None]:
    with locked(root):
        remove_leftovers(root)
        yield
