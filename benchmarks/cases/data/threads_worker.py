"""`python -m benchmarks.cases.data.threads_worker SETTINGS`: a process that makes a pass on request.

SETTINGS is a mapping in JSON: `cores`, to which the process binds itself before anything else is imported; `threads`; `what`, "read" or
"feed"; `path`; `place`, which of how many processes it is that share the rows; `times`, how often a pass goes over them; `batch`, the
rows of a batch of the feed. Each line of standard input is answered with a line of JSON: rows, wall and processor seconds of a pass.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main(cores: list[int], threads: int, what: str, path: str, place: tuple[int, int], times: int, batch: int) -> None:
    """Makes a pass a line."""
    os.sched_setaffinity(0, cores)
    from engine import Dataset

    dataset, (which, number) = Dataset.open(path), place
    mine = Dataset.open(dataset.paths[which::number]) if what == "read" else dataset

    def rows() -> int:
        if what == "read":
            return sum(found.num_rows for _ in range(times) for found in mine.read_batches(threads=threads))
        options = {"host": which, "num_hosts": number, "num_epochs": times, "threads": threads}
        return sum(len(found["float32"]) for found in mine.feed(global_batch_size=batch, seed=1, **options))

    print(rows(), flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        found = {"rows": rows(), "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
