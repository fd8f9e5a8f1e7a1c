"""What a figure depends on beside the code: the machine, its load, the libraries, the data and the version of the code."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.core.environment import BENCH_MACHINE
from engine.machine.clock import utc_now
from engine.machine.processes import processors

__all__ = ["circumstances", "code_version", "data_digest", "gpus", "machine_info", "machine_name", "version_of"]

_ROOT = Path(__file__).parents[2]
LIBRARIES = (
    "numpy", "pyarrow", "tensorflow", "keras", "tensorflow-transform", "tfx-bsl", "apache-beam",
    "tensorflow-model-analysis", "grain", "array-record", "webdataset", "polars", "duckdb", "ray",
)  # fmt: skip
_DIGEST_BYTES = 8
_GPU_ANSWER_S = 30  # a driver that hangs must not keep a run from its results


@functools.cache
def _cpuinfo() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    first = text.split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


@functools.cache
def gpus() -> tuple[str, ...]:
    """Returns the name of each GPU that NVIDIA's driver shows here; nothing where there is no driver or it does not answer."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_GPU_ANSWER_S)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(filter(None, map(str.strip, done.stdout.splitlines()))) if done.returncode == 0 else ()


def machine_info() -> dict[str, Any]:
    """Returns the processor, the cores that this process may use, memory, kernel and libraries, and the GPUs where there are any."""
    cpu = _cpuinfo()
    model = " ".join(cpu[key] for key in ("cpu family", "model", "stepping") if key in cpu)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "cpu_family_model_stepping": model,
        "cores": processors(),
        "memory_bytes": memory,
        "kernel": platform.release(),
        "system": platform.system(),
        "python": platform.python_version(),
        "compiler": platform.python_compiler(),
        "libraries": {name: version for name in LIBRARIES if (version := version_of(name))},
        # Only where there are any: without one a machine is the same as before they were looked for.
        **({"gpus": list(gpus())} if gpus() else {}),
    }


def machine_name() -> str:
    """Returns the folder of this machine's results: FULLPASS_BENCH_MACHINE, else the processor, its cores and its GPUs."""
    chosen = BENCH_MACHINE.read()
    if chosen:
        return chosen
    info = machine_info()
    model = "-".join(info["cpu_family_model_stepping"].split()[:2])
    words = re.sub(r"\(\w+\)|\bcpu\b|@.*|\bprocessor\b", " ", info["cpu"].lower())
    cards = [f"{number} {card}" if number > 1 else card for card, number in Counter(gpus()).items()]
    return re.sub(r"[^a-z0-9]+", "-", f"{words} {model} {info['cores']} cores {' '.join(cards).lower()}").strip("-")


def version_of(distribution: str) -> str | None:
    """Returns the installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def code_version() -> dict[str, Any]:
    """Returns Fullpass's version, the last commit that changed what is measured, and whether files differ from it."""
    from engine.version import __version__

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(_ROOT), *words], capture_output=True, text=True, check=False)
        except OSError:  # there is no git
            return None
        return done.stdout.strip() or None if done.returncode == 0 else None

    packages = ("engine", "transforms", "trainers")
    commit = git("log", "-1", "--format=%H", "--", *packages)
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *packages)
    return {"version": __version__, "commit": commit, "changed": bool(changed)}


def circumstances() -> dict[str, Any]:
    """Returns what may differ from one figure to the next of one file of results: date, load, code."""
    load = [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None
    return {"date": utc_now(), "load": load, "code": code_version()}


def data_digest(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> str:
    """Returns a digest of the contents of files, in their order; names do not count."""
    total = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        total.update(_file_digest(os.fspath(path), os.stat(path).st_mtime_ns))
    return total.hexdigest()


@functools.cache
def _file_digest(path: str, _changed_ns: int) -> bytes:
    with open(path, "rb") as file:
        if hasattr(hashlib, "file_digest"):
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES)).digest()
        total = hashlib.blake2b(digest_size=_DIGEST_BYTES)  # Python 3.10
        while block := file.read(1 << 20):
            total.update(block)
        return total.digest()
