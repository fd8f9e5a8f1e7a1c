"""Accumulators written in Python, NumPy and Arrow, on fixed inputs: what the guard counts of the whole interpreter.

    python benchmarks/guard/accumulators.py TREE LIBRARY ROOT     # under callgrind with --instr-atstart=no

Each workload runs twice before it is counted, so that imports, caches and first allocations are not in the count. TREE is where the
packages come from (their extensions from ROOT where TREE has none built); LIBRARY is `instrument.c`, which starts and ends the counting
and has callgrind write a part of its output with the workload's name.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["PYTHON_WORKLOADS"]

PYTHON_WORKLOADS = ("moments", "sums", "moments_by_key", "vocabulary")
_BATCHES, _ROWS = 3, 4096


def _accumulate(accumulator: Any, batches: list[list[Any]]) -> Any:
    """Two states of the batches, encoded, decoded and merged, as workers and driver do it."""
    states = []
    for half in (batches[:2], batches[2:]):
        state = accumulator.create()
        for arrays in half:
            state = accumulator.update(state, arrays)
        parts = accumulator.encode(state)
        states.append(accumulator.merge([accumulator.decode(part) for part in parts]))
    return accumulator.finish([accumulator.seal(accumulator.merge(states))])


def workloads() -> dict[str, Callable[[], Any]]:
    """Returns what each workload does, by its name."""
    import numpy as np
    import pyarrow as pa

    from transforms.accumulators.numeric.moments import MomentsAccumulator
    from transforms.accumulators.numeric.moments_per_key import MomentsPerKeyAccumulator
    from transforms.accumulators.numeric.sums import SumAccumulator
    from transforms.accumulators.vocabulary.counts import count_tokens, merge_counts

    rng = np.random.default_rng(3)
    floats = [rng.standard_normal(_ROWS).astype(np.float32) for _ in range(_BATCHES)]
    whole = [rng.integers(-1000, 1000, _ROWS) for _ in range(_BATCHES)]
    keys = [pa.array([b"key %d" % each for each in rng.integers(0, 200, _ROWS)], pa.binary()) for _ in range(_BATCHES)]

    def vocabulary() -> Any:
        return merge_counts([count_tokens(batch) for batch in keys])

    return {
        "moments": lambda: _accumulate(MomentsAccumulator("float32"), [[each] for each in floats]),
        "sums": lambda: _accumulate(SumAccumulator("int64"), [[each] for each in whole]),
        "moments_by_key": lambda: _accumulate(
            MomentsPerKeyAccumulator("float32"), [[each, key] for each, key in zip(floats, keys)]
        ),
        "vocabulary": vocabulary,
    }


def main(tree: str, library: str, root: str) -> None:
    """Runs each workload, counted."""
    sys.path.insert(0, tree)
    for package in ("engine", "transforms"):
        importlib.import_module(package).__path__.append(f"{root}/{package}")
    counting = ctypes.CDLL(library)
    every = workloads()
    assert tuple(every) == PYTHON_WORKLOADS
    for name, work in every.items():
        work()
        work()
        gc.collect()
        gc.disable()
        counting.guarded_start()
        work()
        counting.guarded_stop(name.encode())
        gc.enable()


if __name__ == "__main__":
    sys.path.pop(0)  # this folder: `run.py` and others here are no modules of their own
    main(*sys.argv[1:])
