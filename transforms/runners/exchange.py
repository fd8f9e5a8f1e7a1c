"""Files by which workers hand merged parts to the driver: a JSON index, then the blobs; read by memory map."""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Iterable, Mapping

from engine.core.errors import DataError
from engine.core.json_text import parse_json
from engine.storage.atomic import atomic_file

__all__ = ["read_parts", "write_parts"]

_MAGIC = b"FPX1"


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
    entries = list(parts)
    index = {
        "parts": [[a, p, len(blob)] for a, p, blob in entries],
        "rows": [[at, count] for at, count in rows.items()],
    }
    header = json.dumps(index).encode()
    with atomic_file(os.path.join(directory, f"{name}.parts")) as path, open(path, "wb") as file:
        file.write(_MAGIC + struct.pack("<Q", len(header)) + header)
        for _, _, blob in entries:
            file.write(blob)


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
        with open(path, "rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        if view[:4] != _MAGIC:
            raise DataError("is not a file of parts", path=path)
        (length,) = struct.unpack_from("<Q", view, 4)
        index = parse_json(bytes(view[12 : 12 + length]))
        offset = 12 + length
        for analyzer, part, size in index["parts"]:
            if (analyzer, part) in parts:
                raise DataError(f"part {part} of analyzer {analyzer} was merged twice", path=path)
            parts[analyzer, part] = view[offset : offset + size]
            offset += size
        if offset != len(view):
            raise DataError(f"holds {len(view)} bytes, its index says {offset}", path=path)
        for split, count in index["rows"]:
            if split in rows:
                raise DataError(f"split {split} was counted twice", path=path)
            rows[split] = count
    return parts, rows
