"""Runs benchmarks, files their results by machine and case, and compares them with earlier ones.

python -m benchmarks.harness.suite --quick
python -m benchmarks.harness.suite --case read --case feed --against last --fail-if-slower
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness.tables import RESULTS, ROOT
from cluster.benchmarking.compare import compare, lines_of
from cluster.benchmarking.machine import machine_name
from cluster.benchmarking.result_files import keep, results_of
from cluster.benchmarking.suite_flags import add_suite_flags
from engine.core.errors import ConfigError, FullpassError

__all__ = ["cases", "main", "run"]

# Sizes of the quick suite: the fixed costs of a peer weigh a little more in it, see docs/performance.md.
QUICK = {
    "FULLPASS_BENCH_ROWS": "60000",
    "FULLPASS_BENCH_FEED_ROWS": "50000",
    "FULLPASS_BENCH_TFT_ROWS": "3000",
    "FULLPASS_BENCH_TFT_ANALYZERS": "3",
    "FULLPASS_BENCH_SERVE_SECONDS": "1",
}
_INTERRUPTED, _NOTHING_SELECTED = 2, 5  # pytest's exit codes
# What a case that fails wrote is shown; TensorFlow's greetings in each process are of no use there.
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2"}


def cases() -> dict[str, Path]:
    """Returns the file of each case by its name."""
    return {
        path.stem.removeprefix("test_"): path for path in sorted((ROOT / "benchmarks" / "cases").rglob("test_*.py"))
    }


def run(args: argparse.Namespace) -> int:
    """Runs the suite.

    Returns:
        0; 1 where a benchmark failed; 3 where `--fail-if-slower` found one; 130 after Ctrl-C, where `--record` has kept what was measured.

    Raises:
        ConfigError: there is no such case, none that runs without `--full`, nothing to compare with, nothing that is comparable where
            `--fail-if-slower` asks, nothing was measured, or `--record` cannot write.
    """
    known = cases()
    if args.list:
        for name, path in known.items():
            print(f"{name:<12} {path.read_text().splitlines()[0].strip(chr(34))}")
        return 0
    for name in args.case:
        if name not in known:
            raise ConfigError(f"--case {name}: no such case; the cases are {', '.join(known)}")
    mine = RESULTS / machine_name()
    against = mine if args.against == "last" else Path(args.against) if args.against else None
    if against is not None and not against.exists():
        raise ConfigError(f"--against {args.against}: {against} does not exist; `--record` keeps results there")
    if args.record and not _writable(mine):
        raise ConfigError(f"--record: {mine} cannot be written; record in a checkout of your own")
    before = list(results_of(against)) if against else []
    if against is not None and not before:
        raise ConfigError(f"--against {args.against}: {against} holds no results")
    with tempfile.TemporaryDirectory(prefix="fullpass-bench-") as directory:
        measured = Path(directory) / "measured.json"
        code = _pytest([str(known[name]) for name in args.case] or ["benchmarks"], measured, args.full)
        if code == _NOTHING_SELECTED:
            raise ConfigError(f"{' '.join(f'--case {name}' for name in args.case)}: these run with --full alone")
        if not measured.exists() or not measured.stat().st_size:
            if code == _INTERRUPTED:
                return 128 + signal.SIGINT
            raise ConfigError("nothing was measured: see what pytest says above")
        after = list(results_of(measured))
        if args.record:
            for path in keep(measured, mine):
                print(f"kept {path.relative_to(ROOT)}")
        if code == _INTERRUPTED:
            return 128 + signal.SIGINT
    if before:
        changes = compare(before, after)
        for line in lines_of(changes):
            print(line)
        if args.fail_if_slower and all(change.reason for change in changes):
            raise ConfigError(
                f"--fail-if-slower: no figure of {against} can be compared with this run; the reasons are above"
            )
        if args.fail_if_slower and any(change.slower for change in changes):
            return 3
    return 1 if code else 0


def _pytest(paths: list[str], measured: Path, full: bool) -> int:
    # -rf: conftest.py names what was skipped, and why. Nothing is written into the checkout, which may be read-only.
    command = [
        sys.executable,
        "-m",
        "pytest",
        *paths,
        "--benchmark-only",
        "--benchmark-quiet",
        "-q",
        "-rf",
        "--tb=short",
    ]
    command += ["-p", "no:cacheprovider", "-o", "console_output_style=classic", f"--benchmark-json={measured}"]
    environment = {**_QUIET, **os.environ}
    if not full:
        command += ["-m", "not full"]
        environment = {**QUICK, **environment}
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        while True:
            # Ctrl-C reaches pytest too, which ends what it has started and writes what it has measured.
            with contextlib.suppress(KeyboardInterrupt):
                return process.wait()


def _writable(directory: Path) -> bool:
    while not directory.exists():
        directory = directory.parent
    return os.access(directory, os.W_OK)


def main(argv: list[str] | None = None) -> int:
    """Runs the suite of the command line's words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_suite_flags(parser)
    parser.add_argument(
        "--against", metavar="FILE|last", help="compare with JSON of pytest-benchmark, or with the kept results"
    )
    try:
        return run(parser.parse_args(argv))
    except (FullpassError, OSError) as error:  # of OSErrors a full disk, for one
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
