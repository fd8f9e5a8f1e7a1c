"""`python -m benchmarks.cases.data.threads_worker CORES THREADS WHAT PATH`: a process that makes a pass on request.

CORES is a list in JSON; the process binds itself to them before anything else is imported. WHAT is "read" or "feed". Each line of
standard input is answered with a line of JSON: rows, wall and processor seconds of a pass.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main(cores: list[int], threads: int, what: str, path: str) -> None:
    """Makes a pass a line."""
    os.sched_setaffinity(0, cores)
    from engine import Dataset

    dataset = Dataset.open(path)

    def rows() -> int:
        if what == "read":
            return sum(batch.num_rows for batch in dataset.read_batches(threads=threads))
        feed = dataset.feed(global_batch_size=1000, num_epochs=1, seed=1, threads=threads)
        return sum(len(batch["float32"]) for batch in feed)

    print(rows(), flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        found = {"rows": rows(), "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
