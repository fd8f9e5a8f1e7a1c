"""Builds the codec with AddressSanitizer and UndefinedBehaviorSanitizer and feeds it mutated inputs.

python -m tests.fuzz.run --runs 5000000
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("framing", "decoder", "encoder", "feed", "rows")  # of the native code; the bindings need Python
FLAGS = (
    "-std=c++17",
    "-O1",
    "-g",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-Wall",
    "-Wextra",
)


def build(directory: str) -> str:
    """Compiles the fuzz driver and returns its path."""
    program = str(Path(directory) / "decoder_fuzz")
    native = ROOT / "engine" / "native"
    fuzz = ROOT / "tests" / "fuzz"
    files = [str(file) for room in ROOMS for file in sorted((native / room).glob("*.cc"))] + [
        str(fuzz / "decoder_fuzz.cc"),
        str(fuzz / "round_trip.cc"),
        str(fuzz / "span_reads.cc"),
    ]
    subprocess.run(["g++", *FLAGS, f"-I{native}", f"-I{fuzz}", *files, "-o", program], check=True)
    return program


def main() -> int:
    """Builds and runs; the exit code is the driver's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200_000, help="mutated inputs")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        return subprocess.run([build(directory), str(args.runs), str(args.seed)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
