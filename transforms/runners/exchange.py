"""Files by which workers hand merged parts to the driver: frames (`engine.storage.frames`), read by memory map."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from engine.core.errors import DataError
from engine.storage.atomic import atomic_file
from engine.storage.frames import MALFORMED, Frame, mapped

__all__ = ["read_parts", "write_parts"]

# Every worker maps every file and merges some of its parts: to check all of them would read everything once a worker.
_FRAME = Frame(
    magic=b"FPXP", version=2, name="a file of parts", remedy="run the pass again, with one version of Fullpass on all workers",
    checks_blobs=False,
)  # fmt: skip


def write_parts(
    directory: str, name: str, parts: Iterable[tuple[int, int, bytes | memoryview]], rows: Mapping[int, int]
) -> None:
    """Writes parts and counts as one file; writing the same name again replaces it.

    Args:
        directory: shared by driver and workers.
        name: unique within the pass.
        parts: (analyzer, part, blob).
        rows: records by index of the split.
    """
    blobs = [((analyzer, part), blob) for analyzer, part, blob in parts]
    with atomic_file(os.path.join(directory, f"{name}.parts")) as path, open(path, "wb") as file:
        file.writelines(_FRAME.pack({"rows": [*rows.items()]}, blobs))


def read_parts(directory: str) -> tuple[dict[tuple[int, int], memoryview], dict[int, int]]:
    """Returns the parts by (analyzer, part) and the records by split of all files in the directory.

    The parts are views of mapped files: they stay readable after the directory is deleted.

    Raises:
        DataError: when a part or a split comes twice, or a file is damaged.
    """
    parts: dict[tuple[int, int], memoryview] = {}
    rows: dict[int, int] = {}
    for name in sorted(os.listdir(directory)):
        if not name.endswith(".parts"):
            continue
        path = os.path.join(directory, name)
        facts, blobs = _FRAME.unpack(mapped(path), path)
        try:
            _add(facts, blobs, parts, rows, path)
        except MALFORMED as error:
            raise _FRAME.damaged(error, path) from error
    return parts, rows


def _add(facts: Any, blobs: Any, parts: dict[tuple[int, int], memoryview], rows: dict[int, int], path: str) -> None:
    for (analyzer, part), blob in blobs:
        if (analyzer, part) in parts:
            raise DataError(f"part {part} of analyzer {analyzer} was merged twice", path=path)
        parts[analyzer, part] = blob
    for split, count in facts["rows"]:
        if split in rows:
            raise DataError(f"split {split} was counted twice", path=path)
        rows[split] = count
