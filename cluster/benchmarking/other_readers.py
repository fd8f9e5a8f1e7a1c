"""The way that files are read without us: tf.data for TFRecord, pyarrow.dataset for the formats that it knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["PYARROW_FORMATS", "Sums", "arrow_sums", "pyarrow_reader", "tensorflow_reader", "tensorflow_sums"]

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

    parse, records = _parser(part), _records(part)
    if shuffled is not None:
        records = records.shuffle(min(part.num_records, shuffled))
    parsed = records.batch(batch_rows).map(
        lambda examples: (parse(examples), tf.size(examples)), num_parallel_calls=tf.data.AUTOTUNE
    )
    parsed = parsed.prefetch(2)  # traced once, as the data set of ours is opened once
    return lambda: sum(int(size) for _, size in parsed)


def tensorflow_sums(part: Dataset, batch_rows: int = 16_384) -> Sums:
    """Returns what the numbers of each column, and the lengths of its texts, add up to as tf.data reads and parses them."""
    import tensorflow as tf

    parse, found = _parser(part), Sums()
    for parsed in _records(part).batch(batch_rows).map(parse):
        columns: dict[str, Any] = {}
        for each in parsed if isinstance(parsed, tuple) else (parsed,):
            columns |= each
        for name, value in columns.items():
            # A dense tensor, a sparse or a ragged one.
            flat = getattr(value, "flat_values", getattr(value, "values", value))
            found.add(name, np.asarray(tf.strings.length(flat) if flat.dtype == tf.string else flat).ravel())
    return found


def arrow_sums(part: Dataset) -> Sums:
    """Returns what the numbers of each column, and the lengths of its texts, add up to as ours reads them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from engine.schema.kinds import is_text_or_bytes
    from engine.schema.lists import is_list

    found = Sums()
    for batch in part.read_batches():
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            values = column.drop_null()
            while is_list(values.type):
                values = values.flatten().drop_null()
            if is_text_or_bytes(values.type):
                values = pc.binary_length(values.cast(pa.large_binary()))
            if pa.types.is_boolean(values.type):
                values = values.cast(pa.int64())
            if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
                found.add(name, values.to_numpy(zero_copy_only=False))
    return found


class Sums:
    """What the numbers of columns add up to, in whatever order they come."""

    def __init__(self) -> None:
        self._whole: dict[str, int] = {}
        self._real: dict[str, tuple[float, float]] = {}

    @property
    def names(self) -> set[str]:
        """The columns."""
        return self._whole.keys() | self._real.keys()

    def __getitem__(self, name: str) -> float:
        return self._whole[name] if name in self._whole else self._real[name][0]

    def add(self, name: str, values: np.ndarray) -> None:
        """Adds values of a column; of real numbers the finite ones."""
        if values.dtype.kind in "iu":  # modulo 2**64, which no order changes
            self._whole[name] = (self._whole.get(name, 0) + int(values.astype(np.uint64).sum())) % 2**64
        else:
            finite = values[np.isfinite(values)].astype(np.float64)
            total, size = self._real.get(name, (0.0, 0.0))
            self._real[name] = (total + float(finite.sum()), size + float(np.abs(finite).sum()))

    def close(self, other: Sums, name: str) -> bool:
        """Returns whether a column adds up to the same in both, but for what float32 and the order of a sum make of it."""
        if name in self._whole and name in other._whole:
            return self._whole[name] == other._whole[name]
        size = abs(self[name]) if name in self._whole else self._real[name][1]
        return abs(self[name] - other[name]) <= 1e-6 * size


def _records(part: Dataset) -> Any:
    """Returns the serialized records of all files, in the files' order where all are compressed alike."""
    import tensorflow as tf

    packed: dict[str, list[str]] = {}
    for file in part.manifest.files:
        packed.setdefault((file.compression or "").upper(), []).append(file.path)
    return _one(
        [tf.data.TFRecordDataset(paths, kind, num_parallel_reads=tf.data.AUTOTUNE) for kind, paths in packed.items()]
    )


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
