"""Ten vocabularies of many distinct tokens pass within a bound of memory that does not grow with them.

`FULLPASS_VOCABULARY_DISTINCT=20000000` is the full size (within 2 GB); the default is a scaled run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DISTINCT = int(os.environ.get("FULLPASS_VOCABULARY_DISTINCT", "500000"))
COLUMNS = 10

_PROGRAM = """
import sys, threading, time
import numpy as np, pyarrow as pa
from transforms.accumulators.vocabulary.vocabulary import VocabularyAccumulator
from transforms.accumulators.vocabulary.runs import merged_blocks

def anonymous_bytes():  # what the process itself holds; pages of mapped files can be dropped at any time
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))

distinct, columns = int(sys.argv[1]), int(sys.argv[2])
accumulator = VocabularyAccumulator(weighted=False, drop_unwritable=True)
states = [accumulator.create() for _ in range(columns)]
batch = max(1000, distinct // 200)
def tokens(column, start):
    return pa.array(np.char.add(f"column-{column}-", np.arange(start, min(start + batch, distinct)).astype(str)).astype("S"))
tokens(0, 0)
before, peak, over = anonymous_bytes(), 0, False
def watch():
    global peak
    while not over:
        peak = max(peak, anonymous_bytes() - before)
        time.sleep(0.005)
watcher = threading.Thread(target=watch)
watcher.start()
for repeat in range(2):
    for start in range(0, distinct, batch):
        for column, state in enumerate(states):
            accumulator.update(state, [tokens(column, start)])
spilled = sum(state.spilled_bytes for state in states)
total = 0
for column in range(columns):
    parts = accumulator.encode(states[column])
    states[column] = None
    sealed = []
    for part in parts:
        (done,) = accumulator.encode(accumulator.seal(accumulator.merge([accumulator.decode(part)])))
        sealed.append(accumulator.decode(done))
    vocabulary = accumulator.finish(sealed)
    for block in merged_blocks(vocabulary.runs, max(1000, distinct // 500)):
        assert (block.scores == 2).all()
        total += len(block)
over = True
watcher.join()
print(total, spilled, peak)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells how much memory is used")
def test_memory_does_not_grow_with_the_vocabularies() -> None:
    plain_bytes = 2 * 8 * COLUMNS * DISTINCT + 18 * COLUMNS * DISTINCT
    limit = min(256 << 20, plain_bytes // 16)
    environment = {**os.environ, "FULLPASS_VOCABULARY_MEMORY_BYTES": str(limit), "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(DISTINCT), str(COLUMNS)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    total, spilled, peak = map(int, done.stdout.split())
    print(f"{total:,} tokens of {plain_bytes:,} bytes, {spilled:,} bytes spilled, {peak:,} bytes held at most")
    assert total == COLUMNS * DISTINCT
    assert spilled > plain_bytes // 2
    # Beside the limit: batches on their way, and one part at a time while it is merged and sorted.
    assert peak < 6 * limit + (48 << 20), f"{peak:,} bytes, limit {limit:,}"
