"""One file of a data set as its manifest has it: its blocks, counts and checksum."""

from __future__ import annotations

import dataclasses
from typing import Any

from engine import _native
from engine.core.errors import DataError
from engine.formats.block import Block
from engine.formats.registry import detect, format_module, whole_split
from engine.formats.split import Split
from engine.storage import paths as _paths
from engine.storage.open_files import forget

__all__ = ["CHUNK_BYTES", "FileEntry", "file_checksum", "is_elsewhere", "typed"]

CHUNK_BYTES = 4 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of a data set.

    Args:
        path: file or URI.
        format: name in `engine.formats.FORMATS`.
        compression: "gzip" or "zlib" for compressed TFRecord, else None.
        size_bytes: size on disk.
        modified_ns: modification mark.
        records: records in it.
        blocks: what can be read by itself, in order.
        checksum: of every byte of the file (`file_checksum`), or None where only headers were read.
        levels: directories between the manifest's own, or the one that the data set was opened by, and the file (see `Split`).
            Not stored.
    """

    path: str
    format: str
    compression: str | None
    size_bytes: int
    modified_ns: int
    records: int
    blocks: tuple[Block, ...]
    checksum: str | None = None
    levels: int | None = dataclasses.field(default=None, compare=False)

    def whole(self) -> Split:
        """Returns the split that reads the whole file and is held to its count."""
        blocks, records = len(self.blocks), self.records
        split = whole_split(self.path, self.format, self.compression, self.size_bytes, blocks, records)
        return dataclasses.replace(split, levels=self.levels)

    @staticmethod
    def scan(path: str, with_checksum: bool = False, empty: str | None = None) -> FileEntry:
        """Returns the entry of a file as it is now; reads record headers or the footer.

        Args:
            path: file.
            with_checksum: of all its bytes.
            empty: format of a file that holds nothing and whose name tells none.

        Raises:
            DataError: the file is damaged.
        """
        size_bytes, modified_ns = _paths.stat(path)
        name = detect(path, empty)
        module = format_module(name)
        compression = module.file_compression(path)
        records, blocks = module.scan_file(path, compression)
        return FileEntry(
            path=path,
            format=name,
            compression=compression,
            size_bytes=size_bytes,
            modified_ns=modified_ns,
            records=records,
            blocks=blocks,
            checksum=file_checksum(path) if with_checksum else None,
        )

    @staticmethod
    def of_written(path: str, records: int) -> FileEntry:
        """Returns the entry, with its checksum, of a shard to which so many records were written, beside its manifest.

        Raises:
            DataError: it does not hold them.
        """
        try:
            entry = FileEntry.scan(path, with_checksum=True)
        finally:
            forget(
                path
            )  # nobody reads it by the name that it has while its directory is filled; kept open, it would take its room
        if entry.records != records:
            raise DataError(f"holds {entry.records} records, {records} were written", path=path)
        return dataclasses.replace(entry, levels=0)

    def to_json(self, directory: str = "") -> dict[str, Any]:
        """Returns the entry as JSON values, its path relative to a directory where it lies below it."""
        prefix = directory.rstrip("/") + "/" if directory else ""
        blocks = [[block.offset, block.length, block.records, block.hash] for block in self.blocks]
        value = {**dataclasses.asdict(self), "path": self.path.removeprefix(prefix), "blocks": blocks}
        del value["levels"]  # its path says it
        return value

    @staticmethod
    def from_json(value: dict[str, Any], directory: str = "") -> FileEntry:
        """Returns the entry that `to_json` made.

        Raises:
            ValueError, KeyError, TypeError: it is not a manifest.
        """
        path = typed(value, "path", str)
        levels = None
        if directory and not is_elsewhere(path):
            levels = path.count("/")
            path = _paths.join(directory, path)
        blocks = tuple(_block(block) for block in typed(value, "blocks", list))
        records = typed(value, "records", int)
        if sum(block.records for block in blocks) != records:
            raise ValueError(f"{path} has {records} records, its blocks sum up to {sum(b.records for b in blocks)}")
        return FileEntry(
            path=path,
            format=typed(value, "format", str),
            compression=typed(value, "compression", str, type(None)),
            size_bytes=typed(value, "size_bytes", int),
            modified_ns=typed(value, "modified_ns", int),
            records=records,
            blocks=blocks,
            checksum=typed(value, "checksum", str, type(None)) if "checksum" in value else None,
            levels=levels,
        )

    def split(self, block: Block, first_record: int | None = None) -> Split:
        """Returns the split that reads exactly this block."""
        return Split(
            path=self.path,
            format=self.format,
            start=block.offset,
            stop=block.offset + block.length,
            records=block.records,
            compression=self.compression,
            first_record=first_record,
            levels=self.levels,
        )


def is_elsewhere(path: str) -> bool:
    """Returns whether a path of a manifest does not start at the manifest's own directory."""
    return path.startswith("/") or "://" in path or path.lower().startswith("file:/")


def typed(value: dict[str, Any], key: str, *types: type) -> Any:
    """Returns the value of a key of a manifest, held to its types; counts and sizes are not negative.

    Raises:
        KeyError, TypeError, ValueError: it is not there, of another type, or out of range.
    """
    found = value[key]
    if not isinstance(found, types) or isinstance(found, bool):
        raise TypeError(f"{key} is {found!r:.60}")
    if isinstance(found, int) and key != "modified_ns" and not 0 <= found < 1 << 62:
        raise ValueError(f"{key} is {found}")
    return found


def _block(value: Any) -> Block:
    offset, length, records, digest = value
    whole = {"offset": offset, "length": length, "records": records}
    counts = {key: typed(whole, key, int) for key in whole}
    return Block(**counts, hash=typed({"hash": digest}, "hash", str))


def file_checksum(path: str) -> str:
    """Returns hex of the CRC-32C of the CRC-32Cs of a file's 4 MiB chunks."""
    sums = bytearray()
    with _paths.open_input(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            # A store may answer with less than was asked for, but the chunks that are summed are the file's.
            while len(chunk) < CHUNK_BYTES and (more := file.read(CHUNK_BYTES - len(chunk))):
                chunk += more
            sums += _native.crc32c(chunk).to_bytes(4, "little")
    return f"{_native.crc32c(bytes(sums)):08x}"
