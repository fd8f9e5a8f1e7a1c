"""Builds the driver over a tree of sources and counts its instructions with valgrind's callgrind."""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

__all__ = ["ROOT", "WORKLOADS", "Unavailable", "checked_out", "counts", "digest", "kind", "run_command", "valgrind"]

ROOT = Path(__file__).parents[2]
WORKLOADS = ("decode", "decode_lists", "pack", "count", "feed")
# As setup.py builds the extensions.
_FLAGS = ("-std=c++17", "-O3", "-g0", "-DNDEBUG", "-fwrapv", "-fPIC", "-fvisibility=hidden")
_ROOMS = ("framing", "decoder", "encoder", "feed", "rows")  # of engine/native: the bindings need Python
_COLLECTED = re.compile(r"Collected : (\d+)")


class Unavailable(Exception):
    """Instructions cannot be counted here; says why."""


def digest(root: Path = ROOT) -> str:
    """Returns the digest of the driver, whose counts alone compare."""
    return hashlib.sha256((root / "benchmarks" / "guard" / "driver.cc").read_bytes()).hexdigest()[:16]


def kind() -> str:
    """Returns what counts depend on beside the sources.

    Raises:
        Unavailable: there is no compiler or no valgrind, and it cannot be installed.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise Unavailable("there is no g++")
    version = _output([compiler, "-dumpfullversion"])
    return " ".join(
        [
            f"g++-{version}",
            platform.machine(),
            "-".join(platform.libc_ver()) or "libc",
            _output([valgrind(), "--version"]),
            # valgrind offers the program what it can emulate of this processor; the C library chooses its routines by that.
            "-".join(flag for flag in ("sse4_2", "avx", "avx2") if flag in _cpu_flags()) or "plain",
        ]
    )


def valgrind() -> str:
    """Returns the path of valgrind, which is installed where that is possible.

    Raises:
        Unavailable: there is none.
    """
    found = shutil.which("valgrind")
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "valgrind"]
        subprocess.run(["apt-get", "update", "-qq"], capture_output=True, check=False)
        subprocess.run(command, capture_output=True, check=False)
        found = shutil.which("valgrind")
    if found is None:
        raise Unavailable("there is no valgrind, and it could not be installed with apt-get")
    return found


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(found[1].split()) if found else set()


def counts(tree: Path) -> dict[str, int]:
    """Returns the instructions of each workload of a tree of sources.

    Raises:
        Unavailable: the driver does not build or run under valgrind.
    """
    with tempfile.TemporaryDirectory(prefix="fullpass-guard-") as directory:
        driver = _build(tree, Path(directory))
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return dict(zip(WORKLOADS, pool.map(lambda name: _count(driver, name), WORKLOADS), strict=True))


def _build(tree: Path, directory: Path) -> Path:
    native, transforms = tree / "engine" / "native", tree / "transforms" / "native"
    sources = [path for room in _ROOMS for path in sorted((native / room).glob("*.cc"))]
    sources += [transforms / "token_counter.cc", tree / "benchmarks" / "guard" / "driver.cc"]

    def compiled(source: Path) -> str:
        target = directory / f"{source.parent.name}-{source.stem}.o"
        run_command(["g++", *_FLAGS, f"-I{native}", f"-I{transforms}", "-c", str(source), "-o", str(target)])
        return str(target)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, sources))
    driver = directory / "driver"
    run_command(["g++", *objects, "-pthread", "-o", str(driver)])
    return driver


def _count(driver: Path, name: str) -> int:
    options = ["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=guarded_*"]
    done = run_command([valgrind(), *options, str(driver), name])
    found = _COLLECTED.search(done.stderr)
    if found is None or not int(found[1]):
        raise Unavailable(f"callgrind counted nothing of {name}: {done.stderr[-500:]}")
    return int(found[1])


def checked_out(path: Path, directory: Path) -> str:
    """Puts the sources of the commit that last changed a file into a directory, and returns the commit.

    Raises:
        Unavailable: there is no history that holds it.
    """
    git = ["git", "-C", str(ROOT)]
    try:
        commit = _output([*git, "log", "-1", "--format=%H", "--", str(path)])
        shallow = _output([*git, "rev-parse", "--is-shallow-repository"]) == "true"
    except (Unavailable, OSError):
        commit, shallow = "", False
    if not commit or shallow:
        raise Unavailable(
            f"{path.name} has no counts of this compiler and processor, and the history is not here to build them"
        )
    # A changed driver has new baselines in the same commit, so that commit's driver is this one.
    archive = subprocess.run(
        [*git, "archive", commit, "engine", "transforms", "benchmarks/guard"],
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        raise Unavailable(f"git archive {commit}: {archive.stderr.decode(errors='replace').strip()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(directory, filter="data")
    return commit


def run_command(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command and returns what it said.

    Raises:
        Unavailable: it failed.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr[-2000:]}")
    return done


def _output(command: list[str]) -> str:
    return run_command(command).stdout.strip()
