"""What a data set holds, file by file and block by block: the truth that every pass reconciles its counts with.

Stored as `_fullpass_manifest.json` in the directory of the data, paths relative to it, so that the directory can move.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import DataError
from engine.core.json_text import parse_json
from engine.dataset.file_entry import CHUNK_BYTES, FileEntry, is_elsewhere, typed
from engine.formats.block import Block
from engine.formats.split import Split
from engine.storage import paths as _paths

__all__ = ["MANIFEST_NAME", "VERSION", "Manifest", "is_manifest"]
MANIFEST_NAME = "_fullpass_manifest.json"
VERSION = 2  # 1 had no digest; it is still read
_READ_VERSIONS = (1, VERSION)
_HEAD_BYTES = 4096  # its name is in the first line: no data file is read whole to see that it is none


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The files of a data set, in order, and the schema they share.

    Args:
        files: entries, in the order that gives records their global index.
        schema: columns; a column is nullable only where a null was seen or may be.
    """

    files: tuple[FileEntry, ...]
    schema: pa.Schema

    @property
    def num_records(self) -> int:
        """Records in all files."""
        return sum(entry.records for entry in self.files)

    @property
    def paths(self) -> list[str]:
        """Paths of all files, in order."""
        return [entry.path for entry in self.files]

    def block_records(self) -> np.ndarray:
        """Returns the records of every block: int64 [num_blocks], in global record order."""
        return np.array([block.records for _, block, _ in self._blocks], dtype=np.int64)

    def block_split(self, index: int) -> Split:
        """Returns the split that reads block `index` of `block_records`."""
        entry, block, first_record = self._blocks[index]
        return entry.split(block, first_record)

    @functools.cached_property
    def _blocks(self) -> list[tuple[FileEntry, Block, int]]:
        found = []
        for entry in self.files:
            first = 0
            for block in entry.blocks:
                if block.records:
                    found.append((entry, block, first))
                first += block.records
        return found

    @functools.cached_property
    def hash(self) -> str:
        """Hex of what the data holds: names, counts and block hashes, not directories or times."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(self.schema.remove_metadata().serialize().to_pybytes())
        for entry in self.files:
            digest.update(repr((entry.path.rsplit("/", 1)[-1], entry.records)).encode())
            for block in entry.blocks:
                digest.update(repr((block.offset, block.length, block.records, block.hash)).encode())
        return digest.hexdigest()

    def save(self, directory: str) -> str:
        """Writes the manifest into a directory, atomically, and returns its path."""
        path = _paths.join(directory, MANIFEST_NAME)
        with _paths.open_output(path) as file:
            file.write(json.dumps(self.to_json(directory), indent=1).encode())
        return path

    def to_json(self, directory: str = "") -> dict[str, Any]:
        """Returns the manifest as JSON values, with paths relative to a directory where they lie below it."""
        value = {
            "format": "fullpass-manifest",
            "version": VERSION,
            "num_records": self.num_records,
            "hash": self.hash,
            "columns": {f.name: f"{f.type}{'' if f.nullable else ' not null'}" for f in self.schema},
            "schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode(),
            "files": [entry.to_json(directory) for entry in self.files],
        }
        return {**value, "digest": _digest(value)}

    @staticmethod
    def load(path: str, *, contained: bool = False) -> Manifest:
        """Returns the manifest stored at a path.

        Args:
            path: of the manifest.
            contained: refuse files outside of the manifest's directory: what lies beside data that were opened by their own
                name, and perhaps came from somebody else, cannot make other files be read. Opened by its name it may.

        Raises:
            DataError: it is not a manifest, or damaged, or of a version this release cannot read.
        """
        with _paths.open_input(path) as file:
            text = b"".join(iter(lambda: file.read(CHUNK_BYTES), b""))
        try:
            value = parse_json(text)
            if not isinstance(value, dict):
                raise ValueError(f"it holds a {type(value).__name__}")
            if value["format"] != "fullpass-manifest" or value["version"] not in _READ_VERSIONS:
                raise DataError(
                    f"is a {value['format']} of version {value['version']}; this release reads version "
                    f"{' and '.join(map(str, _READ_VERSIONS))}",
                    path=path,
                )
            _refuse_damaged(value, path)
            schema = pa.ipc.read_schema(pa.BufferReader(base64.b64decode(typed(value, "schema", str), validate=True)))
            entries = typed(value, "files", list)
            if contained:
                _refuse_elsewhere(entries, path)
            manifest = Manifest(tuple(FileEntry.from_json(entry, _paths.parent(path)) for entry in entries), schema)
            declared = typed(value, "num_records", int)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError, pa.ArrowException) as error:
            raise DataError(f"is not a Fullpass manifest ({error}); delete it or write it anew", path=path) from error
        if manifest.num_records != declared:
            raise DataError(
                f"says {declared} records, its files sum up to {manifest.num_records}; write it anew", path=path
            )
        return manifest

    @staticmethod
    def scan(paths: Sequence[str], schema: pa.Schema) -> Manifest:
        """Returns the manifest of files as they are now."""
        return Manifest(tuple(FileEntry.scan(path) for path in paths), schema)


def _digest(value: dict[str, Any]) -> str:
    """Hex of everything that a manifest says, however its JSON is laid out: what a flipped byte is found by."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _refuse_damaged(value: dict[str, Any], path: str) -> None:
    if "digest" not in value and value["version"] == 1:
        return
    stated = value["digest"]
    if _digest({key: item for key, item in value.items() if key != "digest"}) != stated:
        raise DataError(
            "is damaged or was edited: its digest does not hold. Delete it and write it anew with "
            "`fullpass inspect --write-manifest`",
            path=path,
        )


def _refuse_elsewhere(entries: list[Any], path: str) -> None:
    for entry in entries:
        name = typed(entry, "path", str)
        if is_elsewhere(name) or ".." in name.split("/"):
            raise DataError(
                f"names the file {name!r}, which lies outside of its directory: open the manifest by its own name if that "
                "is meant, or delete it",
                path=path,
            )


def is_manifest(path: str) -> bool:
    """Returns whether a path names a manifest: by its name, or a `.json` file that says so; others are JSON lines."""
    if path.rsplit("/", 1)[-1] == MANIFEST_NAME:
        return True
    if not path.endswith(".json") or not _paths.exists(path):
        return False
    with _paths.open_input(path) as file:
        return b"fullpass-manifest" in (file.read(_HEAD_BYTES) or b"")
