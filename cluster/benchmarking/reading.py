"""How fast a data set is read: ours and the peer's way in turn, so that a busy machine slows both alike."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cluster.benchmarking.pairs import Spread, paired
from engine.core.errors import ConfigError

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["Pair", "explain", "first_files", "measure"]

_BATCH_ROWS = 16_384
_SHUFFLED = 65_536


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """One comparison: the same records read both ways.

    Attributes:
        what: what was done.
        peer: the other way; without one the figures of the peer are None.
        records: records of one reading.
        ours_s, peer_s: median seconds.
        ratio: peer's seconds over ours, over the pairs; above 1 we are faster.
    """

    what: str
    peer: str
    records: int
    ours_s: float
    peer_s: float | None
    ratio: Spread | None

    def __str__(self) -> str:
        if self.peer_s is None or self.ratio is None:
            return f"{self.what:<16} {self.records / self.ours_s:>13,.0f} records/s   {self.peer}"
        ours, peer = self.records / self.ours_s, self.records / self.peer_s
        return (
            f"{self.what:<16} {ours:>13,.0f} records/s   {self.peer:<50} {peer:>13,.0f} records/s   "
            f"{self.ratio.median:.2f} × ({self.ratio.least:.2f} to {self.ratio.greatest:.2f})"
        )


def measure(dataset: Dataset, rounds: int, max_records: int) -> list[Pair]:
    """Returns comparisons on the first files of the data set that hold `max_records` records, or all.

    Args:
        dataset: an `engine.Dataset` of TFRecord or Parquet.
        rounds: interleaved pairs, at least 1.
        max_records: files are added until they hold so many records.

    Raises:
        ConfigError: both ways did not give the same number of records, or `rounds` is less than 1.
    """
    if rounds < 1:
        raise ConfigError(f"--rounds {rounds}: it must be 1 or more")
    part = first_files(dataset, max_records)
    paths = part.paths
    if part.format == "parquet":
        return [
            _pair("arrow batches", "pyarrow.dataset", lambda: _batches(part), _parquet_peer(paths), rounds),
            _pair("shuffled feed", "(nothing else shuffles Parquet into batches)", lambda: _feed(part), None, rounds),
        ]
    name = "tf.data TFRecordDataset + parse_example"
    return [
        _pair("arrow batches", name, lambda: _batches(part), _tfrecord_peer(part), rounds),
        _pair("shuffled feed", f"{name}, shuffled", lambda: _feed(part), _tfrecord_peer(part, shuffled=True), rounds),
    ]


def first_files(dataset: Dataset, max_records: int) -> Dataset:
    """Returns the `engine.Dataset` of the first files that hold `max_records` records, or of all."""
    from engine import Dataset

    paths: list[str] = []
    records = 0
    for file in dataset.manifest.files:
        if paths and records >= max_records:
            break
        paths.append(file.path)
        records += file.records
    return Dataset.open(paths, feature_spec=dataset.schema)


def explain(dataset: Dataset) -> list[str]:
    """Returns what each row of `measure` is about, in lines to print below the figures.

    Args:
        dataset: the one that was measured.
    """
    from engine.schema.kinds import is_text_or_bytes
    from engine.schema.lists import is_list

    texts = sum(
        is_text_or_bytes(field.type.value_type if is_list(field.type) else field.type) for field in dataset.schema
    )
    lines = [
        f"arrow batches: every column of every record into batches of {_BATCH_ROWS:,}, one reader each way",
        f"shuffled feed: one epoch in shuffled batches of 1,024, as training takes them; a peer shuffles a buffer of {_SHUFFLED:,}, "
        "ours all records (above 524,288 a window of 262,144), in an order that can be resumed",
    ]
    if texts:
        lines.append(
            f"{texts} of {len(dataset.schema)} columns are text: the shuffled feed is read without TensorFlow here, which makes a Python "
            "object of each string; `feed.dataset()` makes none. `make bench` measures that, and transformed rows, which are numbers"
        )
    return lines


def _batches(part: Dataset) -> int:
    return sum(batch.num_rows for batch in part.read_batches(_BATCH_ROWS))


def _feed(part: Dataset) -> int:
    from engine import Remainder

    batch = min(1024, max(1, part.num_records))
    feed = part.feed(global_batch_size=batch, num_epochs=1, remainder=Remainder.DROP)
    return int(sum(batch for _ in feed) + part.num_records % batch)


def _parquet_peer(paths: list[str]) -> Callable[[], int]:
    import pyarrow.dataset

    def read() -> int:
        batches = pyarrow.dataset.dataset(paths, format="parquet").to_batches(batch_size=_BATCH_ROWS)
        return sum(batch.num_rows for batch in batches)

    return read


def _tfrecord_peer(part: Dataset, shuffled: bool = False) -> Callable[[], int]:
    import tensorflow as tf

    spec = part.feature_spec()
    packing = "GZIP" if part.manifest.files[0].compression == "gzip" else ""

    def read() -> int:
        records = tf.data.TFRecordDataset(part.paths, compression_type=packing, num_parallel_reads=tf.data.AUTOTUNE)
        if shuffled:
            records = records.shuffle(min(part.num_records, _SHUFFLED))
        parsed = records.batch(1024 if shuffled else _BATCH_ROWS).map(
            lambda examples: (tf.io.parse_example(examples, spec), tf.size(examples)),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return sum(int(size) for _, size in parsed.prefetch(2))

    return read


def _pair(what: str, name: str, ours: Callable[[], int], peer: Callable[[], int] | None, rounds: int) -> Pair:
    if peer is None:
        ours()
        seconds = statistics.median(_seconds(ours) for _ in range(rounds))
        return Pair(what=what, peer=name, records=ours(), ours_s=seconds, peer_s=None, ratio=None)
    counts = ours(), peer()  # also warms the file cache and the graphs
    if counts[0] != counts[1]:
        raise ConfigError(f"{what}: {counts[0]:,} records by ours, {counts[1]:,} by {name}; they are not comparable")
    result = paired(ours, peer, rounds, warm_up=False)
    return Pair(what=what, peer=name, records=counts[0], ours_s=result.ours_s, peer_s=result.peer_s, ratio=result.wall)


def _seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
