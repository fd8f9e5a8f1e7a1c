"""How fast a data set is read: ours and the peer's way in turn, so that a busy machine slows both alike."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cluster.benchmarking.other_readers import PYARROW_FORMATS, pyarrow_reader, tensorflow_reader
from cluster.benchmarking.pairs import PairedResult, Spread, paired
from engine.core.errors import ConfigError

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["Pair", "explain", "first_files", "measure"]

_BATCH_ROWS = 16_384
_FEED_ROWS = 1024
_SHUFFLED = 65_536
_NO_PEER = "(no other reader is measured for this format)"
_TITLES = {"parquet": "Parquet", "arrow": "Arrow files", "orc": "ORC", "jsonl": "JSON lines", "avro": "Avro"}

Reader = Callable[[], int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """One comparison: the same records read both ways.

    Attributes:
        what: what was done.
        peer: the other way, or why there is none.
        records: records of one reading.
        ours_s, peer_s: median seconds; None where that way does not read these data.
        ratio: peer's seconds over ours, over the pairs; above 1 we are faster.
        note: why ours was not measured.
    """

    what: str
    peer: str
    records: int
    ours_s: float | None
    peer_s: float | None
    ratio: Spread | None
    note: str = ""

    @classmethod
    def of(cls, what: str, peer: str, records: int, result: PairedResult) -> Pair:
        """Returns the comparison that pairs were measured for."""
        return cls(what=what, peer=peer, records=records, ours_s=result.ours_s, peer_s=result.peer_s, ratio=result.wall)

    def __str__(self) -> str:
        if self.ours_s is None:
            return f"{self.what:<16} not measured: {self.note}"
        ours = f"{self.what:<16} {_rate(self.records, self.ours_s):>13} records/s   "
        if self.peer_s is None or self.ratio is None:
            return ours + self.peer
        return (
            f"{ours}{self.peer:<50} {_rate(self.records, self.peer_s):>13} records/s   "
            f"{self.ratio.median:.2f} × ({self.ratio.least:.2f} to {self.ratio.greatest:.2f})"
        )


def _rate(records: int, seconds: float) -> str:
    rate = records / seconds
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def measure(dataset: Dataset, rounds: int, max_records: int) -> list[Pair]:
    """Returns comparisons on the first files of the data set that hold `max_records` records, or all.

    Args:
        dataset: an `engine.Dataset`.
        rounds: interleaved pairs, at least 1.
        max_records: files are added until they hold so many records, at least 1.

    Raises:
        ConfigError: no records, both ways did not give the same number of records, or a number is less than 1.
    """
    part = first_files(dataset, max_records, rounds)
    if part.format == "tfrecord":
        name = "tf.data TFRecordDataset + parse_example"
        return [
            _pair("arrow batches", name, lambda: _batches(part), lambda: tensorflow_reader(part, _BATCH_ROWS), rounds),
            _feed_pair(part, f"{name}, shuffled", lambda: tensorflow_reader(part, _FEED_ROWS, _SHUFFLED), rounds),
        ]
    other = (lambda: pyarrow_reader(part, _BATCH_ROWS)) if part.format in PYARROW_FORMATS else None
    return [
        _pair("arrow batches", "pyarrow.dataset" if other else _NO_PEER, lambda: _batches(part), other, rounds),
        _feed_pair(part, f"(nothing else shuffles {_TITLES.get(part.format, part.format)} into batches)", None, rounds),
    ]


def first_files(dataset: Dataset, max_records: int, rounds: int = 1) -> Dataset:
    """Returns the `engine.Dataset` of the first files that hold `max_records` records, or of all.

    Args:
        dataset: the whole.
        max_records: files are added until they hold so many records.
        rounds: how often they will be read.

    Raises:
        ConfigError: there are no records, or a number is less than 1.
    """
    from engine import Dataset

    for flag, value in (("--rounds", rounds), ("--records", max_records)):
        if value < 1:
            raise ConfigError(f"{flag} {value}: it must be 1 or more")
    paths: list[str] = []
    records = 0
    for file in dataset.manifest.files:
        if paths and records >= max_records:
            break
        paths.append(file.path)
        records += file.records
    if not records:
        raise ConfigError(f"{dataset} has no records: there is nothing to measure")
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
        f"shuffled feed: one epoch in shuffled batches of {_FEED_ROWS:,}, as training takes them; a peer shuffles a buffer of "
        f"{_SHUFFLED:,}, ours all records (above 524,288 a window of 262,144), in an order that can be resumed",
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

    records = part.num_records
    size = min(_FEED_ROWS, records)
    feed = part.feed(global_batch_size=size, num_epochs=1, remainder=Remainder.PARTIAL)
    batches = sum(1 for _ in feed)
    return records if batches == math.ceil(records / size) else batches * size


def _feed_pair(part: Dataset, name: str, peer: Callable[[], Reader] | None, rounds: int) -> Pair:
    try:
        part.feed(global_batch_size=1, num_epochs=1)
    except ConfigError as error:  # nested columns, for one
        what = "shuffled feed"
        return Pair(
            what=what, peer=name, records=part.num_records, ours_s=None, peer_s=None, ratio=None, note=str(error)
        )
    return _pair("shuffled feed", name, lambda: _feed(part), peer, rounds)


def _pair(what: str, name: str, ours: Reader, peer: Callable[[], Reader] | None, rounds: int) -> Pair:
    records = ours()  # also warms the file cache
    read: Reader | None = None
    if peer is not None:
        try:
            read = peer()
            theirs = read()
        except Exception as error:
            # Whatever another library says of files that only we read is the answer, not an error of ours.
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            read, name = None, f"({name} does not read these files: {reason[:200]})"
    if read is None:
        seconds = statistics.median(_seconds(ours) for _ in range(rounds))
        return Pair(what=what, peer=name, records=records, ours_s=seconds, peer_s=None, ratio=None)
    if records != theirs:
        raise ConfigError(f"{what}: {records:,} records by ours, {theirs:,} by {name}; they are not comparable")
    return Pair.of(what, name, records, paired(ours, read, rounds, warm_up=False))


def _seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
