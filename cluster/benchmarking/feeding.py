"""The training feed of a user's data, or of the rows that their `preprocessing_fn` makes, beside tf.data over TFRecord files of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cluster.benchmarking.other_readers import arrow_sums, tensorflow_reader, tensorflow_sums
from cluster.benchmarking.pairs import paired
from cluster.benchmarking.reading import Pair, first_files
from engine.core.errors import ConfigError

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["measure_feed"]

_BATCH_ROWS = 1024
_SHUFFLED = 65_536
_SHARDS = 8


def measure_feed(
    dataset: Dataset,
    preprocessing_fn: Callable[[dict[str, Any]], dict[str, Any]] | None,
    rounds: int,
    max_records: int,
) -> Pair:
    """Returns the comparison of one shuffled epoch in TensorFlow tensors, of the first files that hold `max_records` records, or of all.

    Ours reads the files as they are, or the Parquet files of transformed rows; tf.data reads and parses TFRecord files of the same
    records, which are written for it where there are none.

    Args:
        dataset: an `engine.Dataset`.
        preprocessing_fn: of the user's module; None feeds the records as they are.
        rounds: interleaved pairs, at least 1, after one run of each.
        max_records: files are added until they hold so many records.

    Raises:
        ConfigError: no records, a number less than 1, columns that cannot be fed or that TFRecord does not hold, or two readers that do
            not see the same records.
    """
    from engine import Remainder

    part = first_files(dataset, max_records, rounds)
    with tempfile.TemporaryDirectory(prefix="fullpass-bench-") as directory:
        mine, theirs = _both(part, preprocessing_fn, directory)
        feed = mine.feed(
            global_batch_size=min(_BATCH_ROWS, mine.num_records),
            num_epochs=1,
            remainder=Remainder.PAD,
            window_records=min(_SHUFFLED, max(1, mine.num_records)),
        )

        def run_ours() -> int:
            return sum(int(packed["mask"].numpy().sum()) for packed in feed.dataset())

        def run_theirs() -> int:  # built anew in each run, as ours is: tracing is in both
            return tensorflow_reader(theirs, _BATCH_ROWS, _SHUFFLED)()

        _same(mine, theirs)
        seen = (run_ours(), run_theirs())
        if set(seen) != {part.num_records}:
            raise ConfigError(
                f"--against tfrecord: {seen[0]:,} records by ours, {seen[1]:,} by tf.data, of {part.num_records:,}; they are not comparable"
            )
        result = paired(run_ours, run_theirs, rounds, warm_up=False)
    return Pair.of("training feed", "tf.data: TFRecordDataset + parse_example", part.num_records, result)


def _both(
    part: Dataset, preprocessing_fn: Callable[[dict[str, Any]], dict[str, Any]] | None, directory: str
) -> tuple[Dataset, Dataset]:
    """Returns what ours reads and what tf.data reads."""
    from engine import Dataset

    records = os.path.join(directory, "records")
    if preprocessing_fn is None:
        if part.format == "tfrecord":
            return part, part
        part.write(records, "tfrecord", _SHARDS)
        return part, Dataset.open(records)
    from transforms import analyze, transform

    graph, rows = os.path.join(directory, "graph"), os.path.join(directory, "rows")
    analyze(part, preprocessing_fn, graph)
    transform(part, graph, rows, format="parquet")
    transform(part, graph, records, format="tfrecord")
    return Dataset.open(rows), Dataset.open(records)


def _same(mine: Dataset, theirs: Dataset) -> None:
    """Refuses two sets of records whose numbers, or the lengths of whose texts, do not add up to the same."""
    ours, others = arrow_sums(mine), tensorflow_sums(theirs)
    for name in sorted(ours.names & others.names):
        if not ours.close(others, name):
            raise ConfigError(
                f"--against tfrecord: column {name!r} adds up to {ours[name]} by ours, to {others[name]} by tf.data: "
                "they are not comparable"
            )
