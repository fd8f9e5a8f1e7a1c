"""Opened Parquet files: kept for the next block, and refused where they are none, encrypted or ambiguous."""

from __future__ import annotations

import functools
import io
import os
import threading
from typing import Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from engine.formats.parquet.footer import Footer, parse_footer
from engine.formats.parquet.not_parquet import encrypted, not_parquet
from engine.schema.plain_layouts import plain_schema, plain_type
from engine.storage import paths as _paths
from engine.storage import uris as _uris
from engine.storage.open_files import OpenFiles

__all__ = ["ParquetFile", "open_parquet"]

_WHOLE_COLUMN_BYTES = 16 << 20
_BUFFER_BYTES, _LEAST_BUFFER_BYTES, _BUFFERS_BYTES = 4 << 20, 64 << 10, 64 << 20
_SIGNATURE_BYTES = 28  # behind the plain footer of an encrypted file: nonce and tag
_ParsedFooter: TypeAlias = tuple[pq.FileMetaData, Footer, pa.Schema, bool, tuple[str, ...]]
# Reading block after block opens nothing anew. Readers of two threads share the footer alone, which is some megabytes where a
# file has many row groups and columns.
_FOOTERS: OpenFiles[_ParsedFooter] = OpenFiles(64)


class ParquetFile(pq.ParquetFile):
    """An opened file that is asked for its columns with every block.

    Attributes:
        declared: its schema in plain types.
        footer: what its row groups and columns are; pyarrow's `metadata` must not be asked (see there).
        int96: names of the columns with times of 96 bits, which pyarrow reads as nanoseconds of 64.
        int96_checked: those of each row group that are known to lie within those.
    """

    declared: pa.Schema
    footer: Footer
    int96: tuple[str, ...]
    int96_checked: dict[int, set[str]]

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """Names of the columns; pyarrow would make the whole schema anew each time."""
        return frozenset(self.declared.names)

    @functools.cached_property
    def dictionaries_inside(self) -> frozenset[str]:
        """Names of the columns with dictionaries in lists or structs, which pyarrow reads of one row group at a time only."""
        fields = [field for field in self.schema_arrow if pa.types.is_nested(field.type)]
        return frozenset(field.name for field in fields if "dictionary<" in str(field.type))

    @functools.cached_property
    def leaf_bytes(self) -> tuple[int | None, ...]:
        """Bytes that a value of each column of values takes in memory; None of texts, whose lengths differ."""
        stored = self.schema
        return tuple(_leaf_bytes(stored.column(index)) for index in range(len(self.footer.paths)))


_FILES: OpenFiles[ParquetFile] = OpenFiles(64)


def open_parquet(
    path: str, dictionary_columns: tuple[str, ...] = (), int96_unit: Literal["ns", "us"] = "ns"
) -> ParquetFile:
    """Returns the opened file.

    Args:
        path: file or URI.
        dictionary_columns: columns that are read dictionary-encoded.
        int96_unit: in which times of 96 bits are read.

    Raises:
        DataError: no whole Parquet file, an encrypted one, one whose footer contradicts itself, or has two columns of one name.
    """
    mark = _paths.change_mark(path)
    marks = *mark, dictionary_columns, int96_unit, os.getpid(), threading.get_ident()
    return _FILES.get(path, *marks, opened=lambda: _opened(path, mark, dictionary_columns, int96_unit))


def _opened(path: str, mark: tuple[int, int, int], dictionary_columns: tuple[str, ...], int96_unit: str) -> ParquetFile:
    size_bytes = mark[0]
    try:
        metadata, footer, declared, as_stored, int96 = _FOOTERS.get(
            path, *mark, os.getpid(), opened=lambda: _parsed_footer(path, size_bytes)
        )
        file = ParquetFile(
            _source(path),
            metadata=metadata,
            read_dictionary=[] if as_stored else list(dictionary_columns),
            memory_map=False,
            pre_buffer=_uris.is_remote(path),  # kept by the reader for good: worth it only where latency is
            buffer_size=_buffer_bytes(path, footer),
            page_checksum_verification=True,
            coerce_int96_timestamp_unit=int96_unit,
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise not_parquet(path, size_bytes, error) from error
    file.declared, file.footer, file.int96, file.int96_checked = declared, footer, int96, {}
    return file


def _buffer_bytes(path: str, footer: Footer) -> int:
    """How much of a column is read at once: all of it in a row group (0) unless that is so large that memory would be."""
    each = min(_BUFFER_BYTES, _BUFFERS_BYTES // max(len(footer.paths), 1))  # small columns take a whole one, too
    if _uris.is_remote(path) or each < _LEAST_BUFFER_BYTES or footer.compressed.max(initial=0) <= _WHOLE_COLUMN_BYTES:
        return 0
    return each


def _parsed_footer(path: str, size_bytes: int) -> _ParsedFooter:
    """Returns (footer as pyarrow has it, as numbers, schema in plain types, whether the first has lost its note of Arrow types,
    columns with times of 96 bits)."""
    with _paths.open_input(path) as file:  # one reader for both: behind a URI each would fetch the end of the file
        metadata = pq.read_metadata(file)
        stored_footer = _footer_bytes(file, size_bytes)
    if len(stored_footer) == metadata.serialized_size + _SIGNATURE_BYTES:
        raise encrypted(path)
    footer = parse_footer(stored_footer, path, size_bytes - 8 - len(stored_footer))
    stored = metadata.schema.to_arrow_schema()
    declared = plain_schema(stored, path)
    if not any(_misread(field) for field in stored):
        return metadata, footer, declared, False, _int96(metadata.schema, declared)
    changed = pq.read_metadata(io.BytesIO(_without_arrow_schema(stored_footer)))
    return changed, footer, declared, True, _int96(metadata.schema, declared)


def _int96(stored: pq.ParquetSchema, declared: pa.Schema) -> tuple[str, ...]:
    """Names of the columns with a leaf of 96 bits, however deep."""
    leaves = [stored.column(index) for index in range(len(stored))] if _may_be_int96(declared) else []
    paths = [leaf.path for leaf in leaves if leaf.physical_type == "INT96"]
    return tuple(name for name in declared.names if any(path == name or path.startswith(f"{name}.") for path in paths))


def _may_be_int96(declared: pa.Schema) -> bool:
    """Whether some type has nanoseconds in it: to look at thousands of leaves takes longer."""
    return any(
        "timestamp[ns" in str(kind)
        for kind in declared.types
        if pa.types.is_timestamp(kind) or pa.types.is_nested(kind)
    )


def _leaf_bytes(leaf: Any) -> int | None:
    if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY":
        return max(int(leaf.length), 1)
    return {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "BYTE_ARRAY": None}.get(leaf.physical_type, 8)


def _misread(field: pa.Field) -> bool:
    """Whether pyarrow cannot read the column as the Arrow type that the file notes, though its values are all there.

    A fixed-size list with missing values is refused (https://github.com/apache/arrow/issues/35692); views and extension
    types cannot be cast or taken from everywhere.
    """
    return bool(plain_type(field.type) != field.type or (field.nullable and pa.types.is_fixed_size_list(field.type)))


def _without_arrow_schema(footer: bytes) -> bytes:
    """A file of only a footer in which the key of the Arrow schema is another one: columns then read as Parquet stores them."""
    changed = footer.replace(b"ARROW:schema", b"arrow-schema")
    return b"PAR1" + changed + len(changed).to_bytes(4, "little") + b"PAR1"


def _source(path: str) -> Any:
    if _uris.is_remote(path):
        return _paths.open_input(path)
    name = _uris.arrow_name(path)
    return pa.OSFile(name) if isinstance(name, bytes) else path


def _footer_bytes(file: Any, size_bytes: int) -> bytes:
    file.seek(size_bytes - 8)
    length = int.from_bytes(_exactly(file, 4), "little")
    file.seek(size_bytes - 8 - length)
    return _exactly(file, length)


def _exactly(file: Any, count: int) -> bytes:
    parts = []
    while count and (part := file.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
