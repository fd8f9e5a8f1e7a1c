"""`python -m benchmarks.cases.data.threads_worker SETTINGS`: a process that makes a pass on request.

SETTINGS is a mapping in JSON: `cores`, to which the process binds itself before anything else is imported; `threads`; `what`, "read" or
"feed"; `path`; `place`, which of how many processes it is that share the rows; `times`, how often a pass goes over them. Each line of
standard input is answered with a line of JSON: rows, wall and processor seconds of a pass.
"""

from __future__ import annotations

import json
import os
import sys
import time

BATCH = 800  # any power of two up to 32 processes divides it


def main(cores: list[int], threads: int, what: str, path: str, place: tuple[int, int], times: int) -> None:
    """Makes a pass a line."""
    os.sched_setaffinity(0, cores)
    from engine import Dataset

    dataset, (which, number) = Dataset.open(path), place
    mine = Dataset.open(dataset.paths[which::number]) if what == "read" else dataset

    def rows() -> int:
        if what == "read":
            return sum(batch.num_rows for _ in range(times) for batch in mine.read_batches(threads=threads))
        options = {"host": which, "num_hosts": number, "num_epochs": times, "threads": threads}
        return sum(len(batch["float32"]) for batch in mine.feed(global_batch_size=BATCH, seed=1, **options))

    print(rows(), flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        found = {"rows": rows(), "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
