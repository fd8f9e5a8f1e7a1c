"""The file formats: each a module, or an object, with the same few functions, listed here.

A format has:
    EXTENSIONS
    file_compression(path) -> str | None
    scan_file(path, compression, size_bytes) -> (records, blocks)       every record's place, from headers only
    infer_schema(paths, ...) -> pyarrow.Schema
    split_file(entry, target_bytes) -> list[Split]
    read(split, schema, options) -> Iterator[pyarrow.RecordBatch]
    BY_BLOCK                              True where splits are runs of numbered blocks; else they are bytes
and where it has them:
    COMPRESSIONS, Writer(file, schema, compression)                      write(batch), close(), abandon(); else it is only read
    column_names(path), column_types(path)                               where a file says them
    PlainBlocks(schema, columns)                                         blocks of numbers packed without Arrow arrays in Python
    unchecked(path)                                                      what damage of a file could not be detected
"""

from __future__ import annotations

from typing import Any

from engine.core.errors import ConfigError, DataError
from engine.formats.beginnings import holds_nothing, said_of
from engine.formats.foreign import arrow_ipc, avro, jsonl, orc
from engine.formats.parquet import reader as parquet
from engine.formats.split import Split
from engine.formats.tfrecord import reader as tfrecord
from engine.formats.tfrecord.stream import HEAD_BYTES, header_holds
from engine.storage.paths import open_input

__all__ = ["FORMATS", "detect", "format_module", "whole_split"]

# In the order in which a file's first bytes are asked about: gzip of JSON lines before gzip of TFRecord, whose headers are farther in.
FORMATS: dict[str, Any] = {
    "parquet": parquet,
    "arrow": arrow_ipc.FORMAT,
    "orc": orc.FORMAT,
    "avro": avro.FORMAT,
    "jsonl": jsonl.FORMAT,
    "tfrecord": tfrecord,
}


def format_module(name: str) -> Any:
    """Returns a format: what the head of this file lists.

    Raises:
        ConfigError: no such format.
    """
    try:
        return FORMATS[name]
    except KeyError:
        raise ConfigError(f"format is {name!r}; it can be {' or '.join(repr(known) for known in FORMATS)}") from None


def detect(path: str, empty: str | None = None) -> str:
    """Returns the format of a file by its first bytes, or where those are none or damaged by its name.

    Args:
        path: file.
        empty: what to return for a file that is empty, or packs nothing, and whose name tells no format.

    Raises:
        DataError: neither tells a format.
    """
    with open_input(path) as file:
        head = file.read(HEAD_BYTES) or b""
    if header_holds(head):  # a length may spell another format's mark: 123 is "{"; a checksum that holds is no accident
        return "tfrecord"
    nothing = holds_nothing(head)
    for name, module in FORMATS.items():
        if not nothing and module.matches(head):
            return name
    for name, module in FORMATS.items():
        if any(extension in path.rsplit("/", 1)[-1].lower() for extension in module.EXTENSIONS):
            return name  # reading it will say what is wrong with its beginning
    if nothing and empty is not None:
        return empty
    if nothing and tfrecord.matches(head):
        return "tfrecord"
    raise DataError(
        f"is of no format that is read here ({', '.join(FORMATS)}): {said_of(head)}. A TFRecord file begins with a record header "
        "whose length checksum holds, or is gzip or zlib of such a file. CSV goes through `fullpass ingest` first",
        path=path,
        record=0,
        offset_bytes=0,
    )


def whole_split(
    path: str, name: str, compression: str | None, size_bytes: int, blocks: int | None, records: int | None
) -> Split:
    """Returns the split of a whole file.

    Args:
        path: of the file.
        name: of its format.
        compression: of a TFRecord file.
        size_bytes: of the file.
        blocks: how many it has, or None to look.
        records: to hold it to, or None.
    """
    stop = size_bytes
    if getattr(format_module(name), "BY_BLOCK", False):
        stop = len(format_module(name).scan_file(path)[1]) if blocks is None else blocks
    return Split(path=path, format=name, start=0, stop=stop, records=records, compression=compression)
