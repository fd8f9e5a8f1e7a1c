"""Counts the instructions of the interpreter with NumPy and Arrow in it while accumulators work."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks.guard.accumulators import PYTHON_WORKLOADS
from benchmarks.guard.counting import ROOT, Unavailable, run_command, valgrind
from benchmarks.guard.counting import kind as native_kind

__all__ = ["PYTHON_WORKLOADS", "counts", "digest", "kind"]

_GUARD = Path(__file__).parent
# Sets of strings iterate alike, no thread of a library's own works beside, and Arrow allocates as Python does.
_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "PYTHONDONTWRITEBYTECODE": "1",
}
_PART = re.compile(r"^desc: Trigger: Client Request: (\w+)$.*?^totals: (\d+)$", re.MULTILINE | re.DOTALL)


def digest() -> str:
    """Returns the digest of the driver, whose counts alone compare."""
    return hashlib.sha256((_GUARD / "accumulators.py").read_bytes()).hexdigest()[:16]


def kind() -> str:
    """Returns what counts depend on beside the sources.

    Raises:
        Unavailable: there is no compiler or no valgrind, and it cannot be installed.
    """
    python = f"{platform.python_implementation()}-{platform.python_version()}"
    return " ".join([python, f"numpy-{version('numpy')}", f"pyarrow-{version('pyarrow')}", native_kind()])


def counts(tree: Path) -> dict[str, int]:
    """Returns the instructions of each workload with the packages of a tree of sources.

    Raises:
        Unavailable: the workloads do not run under valgrind.
    """
    with tempfile.TemporaryDirectory(prefix="fullpass-guard-") as directory:
        library, out = Path(directory) / "instrument.so", Path(directory) / "out"
        run_command(["gcc", "-O2", "-shared", "-fPIC", str(_GUARD / "instrument.c"), "-o", str(library)])
        options = ["--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
        program = [sys.executable, "-s", str(_GUARD / "accumulators.py"), str(tree), str(library), str(ROOT)]
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        done = subprocess.run(
            [valgrind(), *options, *program], capture_output=True, text=True, check=False, env={**kept, **_ENVIRONMENT}
        )
        found = {}
        for path in Path(directory).glob("out.*"):
            part = _PART.search(path.read_text())
            if part:
                found[part[1]] = int(part[2])
    if done.returncode or set(found) != set(PYTHON_WORKLOADS):
        raise Unavailable(f"callgrind counted {sorted(found)} of {sorted(PYTHON_WORKLOADS)}: {done.stderr[-2000:]}")
    return {name: found[name] for name in PYTHON_WORKLOADS}
