"""Results in pytest-benchmark's format: what each benchmark notes beside its times, and files that keep them by machine and case."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cluster.benchmarking.machine import circumstances, code_version, data_digest, machine_info, version_of
from cluster.benchmarking.pairs import PairedResult, Spread
from engine.core.errors import ConfigError
from engine.core.json_text import parse_json
from engine.storage.atomic import atomic_file

__all__ = ["case_of", "keep", "load", "note", "plain_name", "record_pair", "results_of"]

_SAME_WORK = ("peer", "records")
_OF_HISTORY = ("date", "code", "load", "peer_version", "pairs", "ratio", "cpu_ratio")
_MOST_HISTORY = 50  # results of a benchmark
_KEPT_STATS = ("min", "max", "mean", "median", "stddev", "rounds", "iterations")


def record_pair(
    benchmark: Any,
    result: PairedResult,
    peer: str,
    records: int | None = None,
    *,
    what: str | None = None,
    package: str | None = None,
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    cold: bool = False,
    headline: bool = False,
) -> None:
    """Notes a paired result in a pytest-benchmark's `extra_info`, and prints it.

    Args:
        benchmark: pytest-benchmark's fixture.
        result: of `paired`.
        peer: what ours was measured beside.
        records: of one run of ours; gives `records_per_s`, and with `paths` `bytes_per_s`.
        what: what was done, in the words of the tables that are made of the results; the test's name without it.
        package: the distribution whose version is the peer's.
        paths: the files that ours reads; their contents' digest is noted.
        cold: whether each run started without a warm-up.
        headline: whether it belongs in the short table of the README.
    """
    files = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    wall, cpu = result.wall, result.cpu
    extra = {
        "what": what or plain_name(benchmark.name),
        "peer": peer,
        "peer_package": package,
        "peer_version": version_of(package) if package else None,
        "pairs": result.rounds,
        "ratio": _rounded(wall),
        "cpu_ratio": _rounded(cpu),
        "ratios": [_significant(ratio) for ratio in result.wall_ratios],
        "cpu_ratios": [_significant(ratio) for ratio in result.cpu_ratios],
        "ours_s": _significant(result.ours_s),
        "peer_s": _significant(result.peer_s),
        "ours_cpu_s": _significant(result.ours_cpu_s),
        "peer_cpu_s": _significant(result.peer_cpu_s),
        "cache": "cold" if cold else "warm",
        "headline": headline,
    }
    note(benchmark, extra, records=records, seconds=result.ours_s, cpu_seconds=result.ours_cpu_s, paths=files)
    print(
        f"\n{benchmark.name}: vs {peer}: {wall.median:.2f} x ({wall.least:.2f} to {wall.greatest:.2f}, {result.rounds} pairs); of "
        f"processor time {cpu.median:.2f} x ({cpu.least:.2f} to {cpu.greatest:.2f}); ours {result.ours_s:.4f} s, peer {result.peer_s:.4f} s"
    )


def note(
    benchmark: Any,
    extra: dict[str, Any],
    *,
    records: int | None = None,
    seconds: float | None = None,
    cpu_seconds: float | None = None,
    paths: Iterable[str | os.PathLike[str]] = (),
) -> None:
    """Adds figures to a pytest-benchmark's `extra_info`, with rates, the data's digest and the circumstances.

    Args:
        benchmark: pytest-benchmark's fixture.
        extra: figures of any name; numbers, texts, lists and mappings of them.
        records: of one run.
        seconds: of one run; with `records` they give the rates.
        cpu_seconds: processor seconds of one run; with `records` they give `records_per_cpu_s`.
        paths: the files that are read.
    """
    files = list(paths)
    benchmark.extra_info.update(extra)
    if records is not None:
        benchmark.extra_info["records"] = records
        if seconds:
            benchmark.extra_info["records_per_s"] = _rate(records / seconds)
        if cpu_seconds:
            benchmark.extra_info["records_per_cpu_s"] = _rate(records / cpu_seconds)
    if files:
        size = sum(os.path.getsize(path) for path in files)
        benchmark.extra_info.update(bytes=size, data_digest=data_digest(files))
        if seconds:
            benchmark.extra_info["bytes_per_s"] = _rate(size / seconds)
    benchmark.extra_info.update(circumstances())


def _rounded(spread: Spread) -> dict[str, float]:
    return {name: _significant(value) for name, value in dataclasses.asdict(spread).items()}


def _rate(value: float) -> float:
    """Rounds a rate to a whole number, where that leaves any digits."""
    return round(value) if value >= 1000 else _significant(value)


def _significant(value: float, digits: int = 6) -> float:
    """Rounds to so many digits that count: three places after the point left nothing of a ratio of 0.0004 or of 20 microseconds."""
    return float(f"{value:.{digits}g}")


def plain_name(name: str) -> str:
    """Returns a benchmark's name in words."""
    return name.removeprefix("test_").replace("_", " ")


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


def _history(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """Returns the earlier ratios of a benchmark, the oldest first: of the same work alone, which another number of records is not."""
    old, new = (before or {}).get("extra_info", {}), now["extra_info"]
    if "ratio" not in old or any(old.get(key) != new.get(key) for key in _SAME_WORK):
        return {}
    history = [*(old.get("history") or []), {key: old[key] for key in _OF_HISTORY if key in old}]
    return {"history": [each for each in history if each.get("date") != new.get("date")][-_MOST_HISTORY:]}


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
