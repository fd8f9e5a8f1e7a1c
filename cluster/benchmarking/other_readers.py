"""The way that files are read without us: tf.data for TFRecord, pyarrow.dataset for the formats that it knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["PYARROW_FORMATS", "pyarrow_reader", "tensorflow_reader"]

# pyarrow's names of the formats that both read; Avro is none of them.
PYARROW_FORMATS = {"parquet": "parquet", "arrow": "ipc", "orc": "orc", "jsonl": "json"}


def pyarrow_reader(part: Dataset, batch_rows: int) -> Callable[[], int]:
    """Returns a function that reads all files by pyarrow and returns the number of rows."""
    import pyarrow.dataset

    files = pyarrow.dataset.dataset(part.paths, format=PYARROW_FORMATS[part.format])
    return lambda: sum(batch.num_rows for batch in files.to_batches(batch_size=batch_rows))


def tensorflow_reader(part: Dataset, batch_rows: int, shuffled: int | None = None) -> Callable[[], int]:
    """Returns a function that reads and parses all records by tf.data and returns their number.

    Args:
        part: TFRecord files, of tf.Example or tf.SequenceExample.
        batch_rows: records that are parsed at once.
        shuffled: records of a shuffle buffer; None keeps the files' order.
    """
    import tensorflow as tf

    parse = _parser(part)
    packed: dict[str, list[str]] = {}
    for file in part.manifest.files:
        packed.setdefault((file.compression or "").upper(), []).append(file.path)
    records = _one(
        [tf.data.TFRecordDataset(paths, kind, num_parallel_reads=tf.data.AUTOTUNE) for kind, paths in packed.items()]
    )
    if shuffled is not None:
        records = records.shuffle(min(part.num_records, shuffled))
    parsed = records.batch(batch_rows).map(
        lambda examples: (parse(examples), tf.size(examples)), num_parallel_calls=tf.data.AUTOTUNE
    )
    parsed = parsed.prefetch(2)  # traced once, as the data set of ours is opened once
    return lambda: sum(int(size) for _, size in parsed)


def _one(parts: Sequence[Any]) -> Any:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.concatenate(part)
    return whole


def _parser(part: Dataset) -> Callable[[Any], Any]:
    """Returns what makes tensors of serialized records: every column that they hold, those of directories' names are not in them."""
    import pyarrow as pa
    import tensorflow as tf

    from engine.schema.feature_spec import feature_spec_from_schema
    from engine.schema.metadata_keys import PARTITION
    from engine.schema.sequence import is_sequence, sequence_spec_from_schema

    schema = pa.schema([field for field in part.schema if PARTITION not in (field.metadata or {})])
    if any(map(is_sequence, schema)):
        context, sequences = sequence_spec_from_schema(schema)
        return lambda examples: tf.io.parse_sequence_example(examples, context or None, sequences)[:2]
    spec = feature_spec_from_schema(schema)
    return lambda examples: tf.io.parse_example(examples, spec)
