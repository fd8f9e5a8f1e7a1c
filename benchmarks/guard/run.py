"""Counts the instructions of the native hot paths and of accumulators, and ends with 1 where one takes 2 % more than it did.

    python -m benchmarks.guard.run            # what continuous integration runs, within a minute on two cores
    python -m benchmarks.guard.run --record   # a wanted change: keep the new counts
    python -m benchmarks.guard.run --times 10 # builds and counts ten times: how far counts of one tree are apart

Counts do not depend on what else the machine does, but they do on the compiler, the C library and the kind of processor, those of
accumulators on the versions of Python, NumPy and Arrow too. So baselines.json holds counts by these, and the commit that last changed it is
the reference for all others: where the counts of this kind are not in it, that commit is built here too and counted. Where neither can
be done, the guard says so and ends with 0: it fails for a slowdown alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.guard import counting, interpreted
from benchmarks.guard.counting import ROOT, Unavailable, checked_out

__all__ = ["BASELINES", "PARTS", "TOLERANCE", "Part", "main", "slower"]

BASELINES = Path(__file__).with_name("baselines.json")
TOLERANCE = 0.02


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """Workloads that are counted together.

    Args:
        digest: of the driver.
        kind: what counts depend on beside the sources.
        counts: the instructions of each workload of a tree of sources.
    """

    digest: Callable[[], str]
    kind: Callable[[], str]
    counts: Callable[[Path], dict[str, int]]


PARTS = {
    "native": Part(digest=counting.digest, kind=counting.kind, counts=counting.counts),
    "accumulators": Part(digest=interpreted.digest, kind=interpreted.kind, counts=interpreted.counts),
}


def slower(before: dict[str, int], after: dict[str, int], tolerance: float = TOLERANCE) -> list[str]:
    """Returns the workloads that take more instructions than before, beyond the tolerance."""
    return [name for name in after if after[name] > before[name] * (1 + tolerance)]


def reference(name: str, here: str) -> tuple[dict[str, int], str]:
    """Returns the counts of a part to compare with, and where they come from.

    Raises:
        Unavailable: there are none for this kind, and they cannot be made.
    """
    kept = _kept(name)
    if kept["driver"] != PARTS[name].digest():
        raise SystemExit(
            f"guard: the driver of {name} changed: `python -m benchmarks.guard.run --record` keeps counts of the new one"
        )
    if here in kept["counts"]:
        return kept["counts"][here], "baselines.json"
    with tempfile.TemporaryDirectory(prefix="fullpass-guard-") as directory:
        commit = checked_out(BASELINES, Path(directory) / "tree")
        found = PARTS[name].counts(Path(directory) / "tree")
    return found, f"commit {commit[:9]}, built here: baselines.json has no counts of {here}"


def _kept(name: str) -> dict[str, Any]:
    content = json.loads(BASELINES.read_text()) if BASELINES.exists() else {}
    found: dict[str, Any] = content.get(name, {"driver": None, "counts": {}})
    return found


def _record(name: str, here: str, after: dict[str, int]) -> None:
    kept, same = _kept(name), _kept(name)["driver"] == PARTS[name].digest()
    # Counts of another state of the code would be compared with this one's on other machines.
    before = kept["counts"].get(here, after)
    changed = not same or slower(before, after) or slower(after, before)
    others = {} if changed else kept["counts"]
    content = json.loads(BASELINES.read_text()) if BASELINES.exists() else {}
    content[name] = {"driver": PARTS[name].digest(), "counts": dict(sorted({**others, here: after}.items()))}
    BASELINES.write_text(json.dumps(content, indent=1) + "\n")


def guard(name: str, tree: Path, record: bool, times: int = 1) -> bool:
    """Counts one part, compares and prints; returns whether a workload is slower in any of the times that it is built and counted."""
    try:
        here = PARTS[name].kind()
        runs = [PARTS[name].counts(tree) for _ in range(times)]
        after = {workload: max(run[workload] for run in runs) for workload in runs[0]}
        if record:
            _record(name, here, after)
            print(f"guard: {name}: kept the counts of {here}: {after}")
            return False
        before, origin = reference(name, here)
    except Unavailable as reason:
        print(f"guard: {name}: skipped: {reason}")
        return False
    print(f"guard: {name}: instructions, against {origin}; {TOLERANCE:.0%} more is too many")
    worse = slower(before, after)
    for workload in after:
        change = after[workload] / before[workload] - 1
        least = min(run[workload] for run in runs) / before[workload] - 1
        spread = f" at most, {least:+.2%} at least" if times > 1 else ""
        print(
            f"  {workload:<15} {before[workload]:>12,} -> {after[workload]:>12,}  {change:+.2%}{spread}"
            f"{'  SLOWER' if workload in worse else ''}"
        )
    if times > 1:
        print(f"guard: {name}: slower in {sum(bool(slower(before, run)) for run in runs)} of {times} runs")
    return bool(worse)


def main(argv: list[str] | None = None) -> int:
    """Counts, compares, prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="keep these counts as the new baseline")
    parser.add_argument("--tree", type=Path, default=ROOT, help="count this copy of the sources (default: this one)")
    parser.add_argument("--part", choices=PARTS, help="count this part alone")
    parser.add_argument(
        "--times",
        type=int,
        default=1,
        metavar="N",
        help="build and count N times, of which none may be slower (default 1)",
    )
    args = parser.parse_args(argv)
    if args.times < 1:
        parser.error(f"--times {args.times}: it must be 1 or more")
    names = [args.part] if args.part else list(PARTS)
    return int(sum(guard(name, args.tree, args.record, args.times) for name in names) > 0)


if __name__ == "__main__":
    sys.exit(main())
