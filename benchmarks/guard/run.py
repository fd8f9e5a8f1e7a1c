"""Counts the instructions of the native hot paths and ends with 1 where one takes 2 % more than it did.

    python -m benchmarks.guard.run            # what continuous integration runs, within a minute on two cores
    python -m benchmarks.guard.run --record   # a wanted change: keep the new counts

Counts do not depend on what else the machine does, but they do on the compiler, the C library and the kind of processor. So
baselines.json holds counts by these, and the commit that last changed it is the reference for all others: where the counts of this
compiler and processor are not in it, that commit is built here too and counted. Where neither can be done, the guard says so and
ends with 0: it fails for a slowdown alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.guard.counting import ROOT, WORKLOADS, Unavailable, checked_out, counts, digest, kind

__all__ = ["BASELINES", "TOLERANCE", "main", "slower"]

BASELINES = Path(__file__).with_name("baselines.json")
TOLERANCE = 0.02


def slower(before: dict[str, int], after: dict[str, int], tolerance: float = TOLERANCE) -> list[str]:
    """Returns the workloads that take more instructions than before, beyond the tolerance."""
    return [name for name in WORKLOADS if after[name] > before[name] * (1 + tolerance)]


def reference(here: str) -> tuple[dict[str, int], str]:
    """Returns the counts to compare with, and where they come from.

    Raises:
        Unavailable: there are none for this kind, and they cannot be made.
    """
    kept = json.loads(BASELINES.read_text())
    if kept["driver"] != digest():
        raise SystemExit(
            "guard: the driver changed: `python -m benchmarks.guard.run --record` keeps counts of the new one"
        )
    if here in kept["counts"]:
        return kept["counts"][here], "baselines.json"
    with tempfile.TemporaryDirectory(prefix="fullpass-guard-") as directory:
        commit = checked_out(BASELINES, Path(directory) / "tree")
        return counts(
            Path(directory) / "tree"
        ), f"commit {commit[:9]}, built here: baselines.json has no counts of {here}"


def _record(here: str, after: dict[str, int]) -> None:
    kept = json.loads(BASELINES.read_text()) if BASELINES.exists() else {}
    same = kept.get("driver") == digest()
    # Counts of another state of the code would be compared with this one's on other machines.
    changed = (
        not same or slower(kept["counts"].get(here, after), after) or slower(after, kept["counts"].get(here, after))
    )
    others = {} if changed else kept["counts"]
    content = {"driver": digest(), "counts": dict(sorted({**others, here: after}.items()))}
    BASELINES.write_text(json.dumps(content, indent=1) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Counts, compares, prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="keep these counts as the new baseline")
    parser.add_argument("--tree", type=Path, default=ROOT, help="count this copy of the sources (default: this one)")
    args = parser.parse_args(argv)
    try:
        here = kind()
        after = counts(args.tree)
        if args.record:
            _record(here, after)
            print(f"guard: kept the counts of {here}: {after}")
            return 0
        before, origin = reference(here)
    except Unavailable as reason:
        print(f"guard: skipped: {reason}")
        return 0
    print(f"guard: instructions, against {origin}; {TOLERANCE:.0%} more is too many")
    worse = slower(before, after)
    for name in WORKLOADS:
        change = after[name] / before[name] - 1
        print(
            f"  {name:<13} {before[name]:>12,} -> {after[name]:>12,}  {change:+.2%}{'  SLOWER' if name in worse else ''}"
        )
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
