"""Epochs of a reader in an environment of its own, on request: it imports nothing of ours. `environments.py` starts it.

The argument is a mapping in JSON: `reader`; `rows`, a .npy file of packed rows; `directory`, where they are written in the reader's own
format; `batch`; `floats`, how many bytes of a row are floats. Each line of standard input asks for an epoch, and is answered with a line
of JSON.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def mosaicml_streaming(rows: str, directory: Path, batch: int, collate: Any) -> Any:
    """Returns a loader over MDS shards, shuffled, as its documents write it."""
    from streaming import MDSWriter, StreamingDataset
    from torch.utils.data import DataLoader

    if not directory.exists():
        with MDSWriter(out=str(directory), columns={"row": "bytes"}) as out:
            for row in np.load(rows):
                out.write({"row": row.tobytes()})
    dataset = StreamingDataset(local=str(directory), shuffle=True, shuffle_seed=1, batch_size=batch)
    return DataLoader(dataset, batch_size=batch, num_workers=0, collate_fn=collate)


def row_of(index: int) -> dict[str, bytes]:
    """Returns a row for litdata's writer, which calls this in processes of its own."""
    return {"row": np.load(os.environ["ROWS"], mmap_mode="r")[index].tobytes()}


def litdata(rows: str, directory: Path, batch: int, collate: Any) -> Any:
    """Returns a loader over its chunks, shuffled, as its documents write it."""
    import litdata as lit

    os.environ["ROWS"] = rows
    if not directory.exists():
        number = len(np.load(rows, mmap_mode="r"))
        lit.optimize(
            fn=row_of, inputs=list(range(number)), output_dir=str(directory), chunk_bytes="64MB", num_workers=1
        )
    dataset = lit.StreamingDataset(str(directory), shuffle=True, seed=1)
    return lit.StreamingDataLoader(dataset, batch_size=batch, num_workers=0, collate_fn=collate)


READERS = {"mosaicml-streaming": mosaicml_streaming, "litdata": litdata}


def processor_seconds() -> float:
    """Returns what this process and its children that have ended used."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def main(reader: str, rows: str, directory: str, batch: int, floats: int) -> None:
    """Writes the rows where they are missing, and reads an epoch for each line."""

    def collate(samples: list[dict[str, bytes]]) -> tuple[np.ndarray, np.ndarray]:
        # All rows of the batch at once: quicker than row by row, as the default does it.
        packed = np.frombuffer(b"".join(sample["row"] for sample in samples), np.uint8).reshape(len(samples), -1)
        return packed[:, :floats].copy().view(np.float32), packed[:, floats:].copy().view(np.int64)

    loader = READERS[reader](rows, Path(directory), batch, collate)
    print(json.dumps({"version": importlib.metadata.version(reader)}), flush=True)
    for line in sys.stdin:
        check, count, total = int(line), 0, 0
        wall, cpu = time.perf_counter(), processor_seconds()
        for found, ints in loader:
            count += len(found)
            total += int(ints.sum()) if check else 0
        took = {"wall_s": time.perf_counter() - wall, "cpu_s": processor_seconds() - cpu}
        print(json.dumps({"records": count, "sum": total, **took}), flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
