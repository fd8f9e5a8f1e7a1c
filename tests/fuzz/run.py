"""Builds the codec, the CSV code, the readers of JSON lines, of Parquet footers and of requests with sanitizers of addresses and undefined
behaviour, and feeds them mutated inputs.

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


def build(directory: str) -> list[str]:
    """Compiles the fuzz drivers and returns their paths."""
    native = ROOT / "engine" / "native"
    fuzz = ROOT / "tests" / "fuzz"
    rooms = [str(file) for room in ROOMS for file in sorted((native / room).glob("*.cc"))]
    text = [str(file) for file in sorted((native / "text").glob("*.cc"))]
    footers = [str(file) for file in sorted((native / "parquet").glob("*.cc"))]
    requests = ROOT / "trainers" / "native" / "serving"
    serving = [
        str(file) for file in [*(native / "serving").glob("*.cc"), *requests.glob("*.cc")] if file.stem != "module"
    ]
    programs = {
        "decoder_fuzz": [*rooms, *(str(fuzz / f"{name}.cc") for name in ("decoder_fuzz", "round_trip", "span_reads"))],
        "csv_fuzz": [*text, str(fuzz / "csv_fuzz.cc")],
        "json_fuzz": [str(native / "text" / "json_shape.cc"), str(fuzz / "json_fuzz.cc")],
        "parquet_fuzz": [*footers, str(fuzz / "parquet_fuzz.cc")],
        "serving_fuzz": [*serving, str(fuzz / "serving_fuzz.cc")],
    }
    for name, files in programs.items():
        subprocess.run(
            ["g++", *FLAGS, f"-I{native}", f"-I{requests}", f"-I{fuzz}", *files, "-o", str(Path(directory) / name)],
            check=True,
        )
    return [str(Path(directory) / name) for name in programs]


def main() -> int:
    """Builds and runs all; the exit code is the first that is not 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200_000, help="mutated inputs")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        words = [str(args.runs), str(args.seed)]
        codes = [subprocess.run([program, *words], check=False).returncode for program in build(directory)]
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
