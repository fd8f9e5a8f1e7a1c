"""Files of results in pytest-benchmark's format, which keep them by machine and case."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.benchmarking.machine import code_version, machine_info
from engine.core.errors import ConfigError
from engine.core.json_text import parse_json
from engine.storage.atomic import atomic_file

__all__ = ["case_of", "keep", "load", "results_of"]

_SAME_WORK = ("peer", "records")
_OF_HISTORY = ("date", "code", "load", "peer_version", "pairs", "ratio", "cpu_ratio")
_MOST_HISTORY = 50  # results of a benchmark
_KEPT_STATS = ("min", "max", "mean", "median", "stddev", "rounds", "iterations")


def case_of(entry: dict[str, Any]) -> str:
    """Returns the case of a benchmark's entry: its file's name without `test_`."""
    return Path(entry["fullname"].split("::")[0]).stem.removeprefix("test_")


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns a file of pytest-benchmark's format.

    Raises:
        ConfigError: it is none.
    """
    try:
        content: dict[str, Any] = parse_json(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON of pytest-benchmark: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("benchmarks"), list):
        raise ConfigError(f"{path}: not JSON of pytest-benchmark: it has no list 'benchmarks'")
    if not isinstance(content.setdefault("machine_info", {}), dict):
        raise ConfigError(f"{path}: not JSON of pytest-benchmark: machine_info is {content['machine_info']!r:.60}")
    for index, entry in enumerate(content["benchmarks"]):
        if not isinstance(entry, dict):
            raise ConfigError(f"{path}: not JSON of pytest-benchmark: benchmarks[{index}] is {entry!r:.60}")
        for key, kind in (("fullname", str), ("stats", dict), ("extra_info", dict)):
            if not isinstance(entry.get(key), kind):
                found = f"benchmarks[{index}].{key} is {entry.get(key)!r:.60}"
                raise ConfigError(f"{path}: not JSON of pytest-benchmark: {found}; expected a {kind.__name__}")
    return content


def results_of(path: str | os.PathLike[str]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yields (machine_info, entry) of each benchmark of a file of results, or of all below a directory in the files' order."""
    root = Path(path)
    for file in sorted(root.rglob("*.json")) if root.is_dir() else [root]:
        content = load(file)
        for entry in content["benchmarks"]:
            yield content["machine_info"], entry


def keep(measured: str | os.PathLike[str], directory: str | os.PathLike[str]) -> list[Path]:
    """Files a run's results by case; benchmarks that this run did not measure keep the results that they have.

    Args:
        measured: a file of `pytest --benchmark-json`.
        directory: of this machine's results; NAME.json for each case.

    Returns:
        The files written.
    """
    content, written = load(measured), []
    cases: dict[str, list[dict[str, Any]]] = {}
    for entry in content["benchmarks"]:
        entry["stats"] = {key: entry["stats"][key] for key in _KEPT_STATS if key in entry["stats"]}
        cases.setdefault(case_of(entry), []).append(entry)
    for case, entries in cases.items():
        path = Path(directory) / f"{case}.json"
        kept = {entry["fullname"]: entry for entry in load(path)["benchmarks"]} if path.exists() else {}
        for entry in entries:
            entry["extra_info"] |= _history(kept.get(entry["fullname"]), entry)
        kept |= {entry["fullname"]: entry for entry in entries}
        whole = {
            "machine_info": machine_info(),
            "commit_info": {"id": code_version()["commit"], "dirty": code_version()["changed"]},
            "benchmarks": [kept[name] for name in sorted(kept)],
            "datetime": content.get("datetime"),
            "version": content.get("version"),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary:
            Path(temporary).write_text(json.dumps(whole, indent=1) + "\n")
        written.append(path)
    return written


def _history(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """Returns the earlier ratios of a benchmark, the oldest first: of the same work alone, which another number of records is not."""
    old, new = (before or {}).get("extra_info", {}), now["extra_info"]
    if "ratio" not in old or any(old.get(key) != new.get(key) for key in _SAME_WORK):
        return {}
    history = [*(old.get("history") or []), {key: old[key] for key in _OF_HISTORY if key in old}]
    return {"history": [each for each in history if each.get("date") != new.get("date")][-_MOST_HISTORY:]}
