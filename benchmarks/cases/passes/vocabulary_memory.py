"""Memory of vocabularies of distinct strings: ten columns of some millions each, the process's peak, and the exact result.

`python -m benchmarks.cases.passes.vocabulary_memory --distinct 20000000`. It writes Parquet (eight characters a string, a tenth
of the strings twice) and runs the analysis in a process of its own, whose anonymous memory is read four times a second. Of one
column the count and the whole order are compared with a sort by numpy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_CHUNK = 1 << 20
_MULTIPLIER = np.uint64(2654435761)  # odd: a permutation of 32 bits


def main() -> None:
    """Runs the benchmark and prints a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--distinct", type=int, default=2_000_000, help="distinct strings a column")
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--dir", default=None, help="where data and results go (about 40 bytes a string and column)")
    parser.add_argument("--child", nargs=2, metavar=("DATA", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _analyze(*args.child, args.workers)
        return
    with tempfile.TemporaryDirectory(prefix="vocabulary-memory-", dir=args.dir) as directory:
        _run(args, Path(directory))


def _run(args: argparse.Namespace, directory: Path) -> None:
    data, out = directory / "data.parquet", directory / "graph"
    rows = _write(data, args.distinct, args.columns)
    start = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "benchmarks.cases.passes.vocabulary_memory",
        "--workers",
        str(args.workers),
        "--child",
    ]
    child = subprocess.Popen([*command, str(data), str(out)], env={**os.environ, "TMPDIR": str(directory)})
    peaks = {"RssAnon": 0, "RssFile": 0, "VmRSS": 0}
    while child.poll() is None:
        _note_memory(child.pid, peaks)
        time.sleep(0.25)
    seconds = time.perf_counter() - start
    if child.returncode:
        raise SystemExit(f"the analysis ended with exit code {child.returncode}")
    result = {"columns": args.columns, "distinct": args.distinct, "rows": rows, "workers": args.workers}
    result |= {"seconds": round(seconds, 1), **{f"peak_{key}_MB": value >> 10 for key, value in peaks.items()}}
    sizes = {path.stat().st_size for path in (out / "transform_fn" / "assets").iterdir()}
    result["exact"] = sizes == {9 * args.distinct} and _same_order(
        out / "transform_fn" / "assets" / "c0", args.distinct
    )
    print(json.dumps(result), flush=True)
    if not result["exact"]:
        raise SystemExit("a vocabulary is not what a sort gives")


def _strings(values: np.ndarray) -> np.ndarray:
    """Returns eight hexadecimal digits a value, uint8 [values, 8]."""
    digits = (values[:, None] >> np.arange(28, -1, -4, dtype=np.uint64)) & np.uint64(15)
    return np.ascontiguousarray(np.frombuffer(b"0123456789abcdef", np.uint8)[digits.astype(np.intp)])


def _codes(first: int, last: int, distinct: int, column: int) -> np.ndarray:
    """Returns the codes of rows: the first tenth of the strings comes again at the end."""
    index = np.arange(first, last, dtype=np.uint64) % np.uint64(distinct)
    return (index * _MULTIPLIER + np.uint64(column)) & np.uint64(0xFFFFFFFF)


def _write(path: Path, distinct: int, columns: int) -> int:
    rows = distinct + distinct // 10
    schema = pa.schema([pa.field(f"c{column}", pa.binary(), nullable=False) for column in range(columns)])
    with pq.ParquetWriter(path, schema, use_dictionary=False, compression="none") as writer:
        for first in range(0, rows, _CHUNK):
            last = min(first + _CHUNK, rows)
            arrays = []
            for column in range(columns):
                text = pa.py_buffer(_strings(_codes(first, last, distinct, column)))
                offsets = pa.py_buffer(np.arange(0, 8 * (last - first) + 1, 8, dtype=np.int32))
                arrays.append(pa.Array.from_buffers(pa.binary(), last - first, [None, offsets, text]))
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=1 << 18)
    return rows


def _analyze(data: str, out: str, workers: int) -> None:
    import tensorflow_transform as tft

    from engine import Dataset
    from transforms import analyze

    def preprocessing_fn(inputs: dict) -> dict:
        return {name: tft.compute_and_apply_vocabulary(x, vocab_filename=name) for name, x in inputs.items()}

    analyze(Dataset.open(data), preprocessing_fn, out, runner_options=[f"--workers={workers}"])


def _note_memory(pid: int, peaks: dict[str, int]) -> None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        key, _, value = line.partition(":")
        if key in peaks:
            peaks[key] = max(peaks[key], int(value.split()[0]))


def _same_order(path: Path, distinct: int) -> bool:
    """Whether the file holds the strings that occur twice, then the others, each in descending order."""
    repeated = distinct // 10
    codes = _codes(0, distinct, distinct, 0)  # hexadecimal digits of equal length sort as their numbers do
    expected = np.concatenate([np.sort(codes[:repeated])[::-1], np.sort(codes[repeated:])[::-1]])
    found = np.memmap(path, np.uint8, "r").reshape(-1, 9)
    return len(found) == distinct and all(
        np.array_equal(found[at : at + _CHUNK, :8], _strings(expected[at : at + _CHUNK]))
        for at in range(0, distinct, _CHUNK)
    )


if __name__ == "__main__":
    main()
