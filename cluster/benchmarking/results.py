"""What each benchmark notes beside its times, in pytest-benchmark's `extra_info`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from typing import Any

from cluster.benchmarking.machine import circumstances, data_digest, version_of
from cluster.benchmarking.pairs import PairedResult, Spread

__all__ = ["note", "plain_name", "record_pair"]


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
