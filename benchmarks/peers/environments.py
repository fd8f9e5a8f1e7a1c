"""Peers in environments of their own, whose packages clash with ours or take gigabytes: `python -m benchmarks.peers.environments NAME...`.

An environment is made once, with uv, below FULLPASS_BENCH_CACHE (~/.cache/fullpass/benchmarks), and lies there until somebody deletes it.
What is measured runs in a process of its own there, `elsewhere.py`, which imports nothing of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.registry import PEERS
from cluster.benchmarking.pairs import Timing

__all__ = ["Elsewhere", "is_made", "made", "place"]

_SCRIPT = Path(__file__).with_name("elsewhere.py")


def place(name: str) -> Path:
    """Returns the directory of a peer's environment, which may not be there."""
    cache = os.environ.get("FULLPASS_BENCH_CACHE", "~/.cache/fullpass/benchmarks")
    return Path(cache).expanduser() / "environments" / name


def is_made(name: str) -> bool:
    """Returns whether a peer's environment is there and whole."""
    return (place(name) / "made").exists()


def made(name: str) -> Path:
    """Makes the environment of a peer that needs one where it is missing, and returns its Python.

    Raises:
        subprocess.CalledProcessError: its packages cannot be had here.
    """
    wanted = PEERS[name].apart
    folder = place(name)
    if not is_made(name):
        shutil.rmtree(folder, ignore_errors=True)
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        python = str(folder / "bin" / "python")
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *wanted], check=True)
        (folder / "made").touch()
    return folder / "bin" / "python"


class Elsewhere:
    """A reader in its own environment, in a process that reads an epoch when it is asked.

    Args:
        name: of the peer.
        rows: a .npy file of packed rows, which it writes in its own format first.
        directory: for that.
        batch: rows of a batch.
        floats: bytes of a row that are floats; the others are integers of 64 bits.
    """

    def __init__(self, name: str, rows: str, directory: Path, batch: int, floats: int) -> None:
        settings = {"reader": name, "rows": rows, "directory": str(directory), "batch": batch, "floats": floats}
        # What an environment of ours would find on these paths is not of that environment.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        self._process = subprocess.Popen(
            [str(place(name) / "bin" / "python"), str(_SCRIPT), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.version = str(self._said()["version"])

    def epoch(self, check: bool = False) -> Any:
        """Returns (records, sum of the integers) of an epoch where `check`, else its seconds there."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{int(check)}\n")
        self._process.stdin.flush()
        said = self._said()
        return (said["records"], said["sum"]) if check else Timing(wall_s=said["wall_s"], cpu_s=said["cpu_s"])

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # what its libraries print is none of it
                found: dict[str, Any] = json.loads(line)
                return found
        raise RuntimeError(f"{self._process.args[2]!r} ended with {self._process.wait()}")  # type: ignore[index]

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()


def main(argv: list[str] | None = None) -> int:
    """Makes the environments of the peers that are named, or of all that need one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    needed = [name for name, peer in PEERS.items() if peer.apart]
    parser.add_argument("peer", nargs="*", help=f"{' or '.join(needed)}; all of them without")
    wanted = parser.parse_args(argv).peer or needed
    for name in wanted:
        if name not in needed:
            parser.error(f"{name}: no such peer; those with an environment of their own are {', '.join(needed)}")
    for name in wanted:
        print(f"{name}: {made(name)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
