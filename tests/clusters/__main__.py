"""Runs the cluster tests, a few pytest processes beside one another: `python -m tests.clusters [options of pytest]`.

They wait for servers most of the time, so one process after another would leave the cores idle. What shares state shares a process:
the Beam clusters of a session, the root of TFX, Ray and tuning, which both start Ray in the process of the test. Ray's has nothing else
in it: Ray forks its servers with Python code between fork and exec, which can hang where gRPC's threads of earlier tests (Beam's) hold a
lock. Kubernetes' tests wait most (for pods that come, fail, back off and go) and take longest: two groups, each with a node of its own.
"""

from __future__ import annotations

import contextlib
import os
import site
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.line_hits import start
from tests.support.line_hits.__main__ import hook
from tests.support.side_by_side import Group, run

__all__ = ["groups"]

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
# In the order of their start. What no pattern names goes to "beam".
PATTERNS: dict[str, tuple[str, ...]] = {
    "kubernetes": tuple(f"test_kubernetes_{name}.py" for name in ("failures", "kinds", "rayjob", "soak", "training")),
    "beam": (),
    "kubernetes-2": ("test_kubernetes_*.py",),
    "tfx": ("test_tfx.py", "test_ml_metadata.py"),
    "ray": ("test_ray_*.py", "test_tuning.py"),
    "soak": ("test_soak.py",),
}
# Java's servers live for minutes here: code that is optimised for hours, and a collector of many threads, cost more than they save.
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
BESIDE = 4  # Two of them Kubernetes', which wait. Ray begins when another has ended: with more, servers miss their own time limits.


def groups(options: Sequence[str] = ()) -> list[Group]:
    """Returns the groups, each test file of this folder in exactly one of them.

    Args:
        options: of pytest, for each of them.
    """
    files = {path: next((n for n, p in PATTERNS.items() if any(map(path.match, p))), "beam") for path in _test_files()}
    found = []
    for name in PATTERNS:
        own = (str(path.relative_to(ROOT)) for path, group in files.items() if group == name)
        commands = [(sys.executable, "-u", "-m", "pytest", *own, *options)]
        if name.startswith("kubernetes"):
            # Their programs are built where they are missing, or waited for, outside any test's time limit. Where that fails the tests
            # are skipped with the reason, which fails the run where CI=true.
            commands.insert(0, (sys.executable, "-u", "-m", "tests.support.servers.kubernetes.binaries"))
        found.append(Group(name=name, commands=tuple(commands), none_is_fine=bool(options)))
    return found


def _test_files() -> list[Path]:
    return sorted(FOLDER.glob("test_*.py"))


def main(options: Sequence[str]) -> int:
    """Runs all groups and returns the exit code. Their processes import TensorFlow as those of `make test` do; no lines are counted."""
    with contextlib.suppress(OSError):  # an environment that is not ours to write to: they begin more slowly
        hook(Path(site.getsitepackages()[0]))
    os.environ[start.VARIABLE] = str(Path(start.__file__).parent)
    os.environ.setdefault("JAVA_TOOL_OPTIONS", JAVA_OPTIONS)
    return run(groups(options), beside=BESIDE, directory=ROOT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
