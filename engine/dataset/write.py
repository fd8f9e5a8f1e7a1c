"""Writing one file, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from engine.core.errors import ConfigError
from engine.dataset.shard_numbers import numbered
from engine.formats.registry import FORMATS, format_module
from engine.schema.conform import conform
from engine.storage import paths as _paths

__all__ = ["check_output", "shard_name", "write_batches"]

# What Beam, and so TFX, tells compression by; TensorFlow's caller passes it.
_TFRECORD_SUFFIX = {None: "", "gzip": ".gz", "zlib": ".deflate"}


def shard_name(index: int, num_shards: int, format: str, compression: str | None, stem: str = "data") -> str:
    """Returns the name of a shard, e.g. "data-00003-of-00064.tfrecord.gz"."""
    suffix = ".parquet" if format == "parquet" else f".tfrecord{_TFRECORD_SUFFIX[compression]}"
    return numbered(stem, index, num_shards, suffix)


def write_batches(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    path: str,
    format: str = "parquet",
    compression: str | None = None,
) -> int:
    """Writes batches as one file, which appears whole or not at all, and returns the records written.

    Args:
        batches: rows to write; every batch must fit the schema.
        schema: columns of the file.
        path: file or URI; its directory is made where missing.
        format: "parquet" or "tfrecord".
        compression: None; "gzip"; TFRecord also "zlib", Parquet "zstd" and "snappy".

    Raises:
        ConfigError: an unknown format or compression, or a column type that the format cannot hold.
        DataError: a batch that does not fit the schema.
    """
    check_output(format, compression)
    records = 0
    with _paths.open_output(str(path)) as file:
        writer = format_module(format).Writer(file, schema, compression)
        try:
            for batch in batches:
                writer.write(conform(batch, schema, str(path), records))
                records += batch.num_rows
            writer.close()
        except BaseException:
            writer.abandon()
            raise
    return records


def check_output(format: str, compression: str | None) -> None:
    """Raises ConfigError where the format or its compression is unknown."""
    written = [name for name, module in FORMATS.items() if hasattr(module, "Writer")]
    if format not in written:
        raise ConfigError(f"format is {format!r}; it can be {' or '.join(map(repr, written))}")
    allowed = format_module(format).COMPRESSIONS
    if compression not in allowed:
        raise ConfigError(f"compression is {compression!r}; {format} takes {', '.join(map(repr, allowed))}")
