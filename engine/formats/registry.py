"""The file formats: each a module with the same few functions, listed here.

A format module has:
    EXTENSIONS, COMPRESSIONS
    file_compression(path) -> str | None
    scan_file(path, compression, size_bytes) -> (records, blocks)       every record's place, from headers only
    infer_schema(paths, ...) -> pyarrow.Schema
    split_file(entry, target_bytes) -> list[Split]
    read(split, schema, options) -> Iterator[pyarrow.RecordBatch]
    Writer(file, schema, compression)                                    write(batch), close(), abandon()
"""

from __future__ import annotations

from types import ModuleType

from engine.core.errors import ConfigError, DataError
from engine.formats.parquet import reader as parquet
from engine.formats.tfrecord import reader as tfrecord
from engine.formats.tfrecord.stream import HEAD_BYTES
from engine.storage.paths import open_input

__all__ = ["FORMATS", "detect", "format_module"]

FORMATS: dict[str, ModuleType] = {"parquet": parquet, "tfrecord": tfrecord}


def format_module(name: str) -> ModuleType:
    """Returns the module of a format.

    Raises:
        ConfigError: no such format.
    """
    try:
        return FORMATS[name]
    except KeyError:
        raise ConfigError(f"format is {name!r}; it can be {' or '.join(repr(known) for known in FORMATS)}") from None


def detect(path: str) -> str:
    """Returns the format of a file by its first bytes, or where those are none or damaged by its name.

    Raises:
        DataError: neither tells a format.
    """
    with open_input(path) as file:
        head = file.read(HEAD_BYTES) or b""
    for name, module in FORMATS.items():
        if module.matches(head):
            return name
    for name, module in FORMATS.items():
        if any(extension in path.rsplit("/", 1)[-1].lower() for extension in module.EXTENSIONS):
            return name  # reading it will say what is wrong with its beginning
    raise DataError(
        f"is neither Parquet nor TFRecord: it begins with {head[:12]!r}. A Parquet file begins with b'PAR1'; a TFRecord file with a "
        "record header whose length checksum holds, or is gzip or zlib of such a file. CSV goes through `fullpass ingest` first",
        path=path,
        record=0,
        offset_bytes=0,
    )
