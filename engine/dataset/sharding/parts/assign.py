"""The part of every record, found in a pass before anything is written: one byte a record."""

from __future__ import annotations

import collections
import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.core.errors import ConfigError
from engine.core.progress import Progress
from engine.core.text_encoding import as_text
from engine.dataset.sharding.parts.grouped_strata import GroupedStrata
from engine.dataset.sharding.parts.key_split import column_of, hash_positions, key_hashes, texts_of
from engine.dataset.sharding.parts.part_options import PartOptions
from engine.dataset.sharding.parts.time_split import TimeCuts
from engine.dataset.sharding.source import Source
from engine.plan.feistel import mix

__all__ = ["Assignment", "assign_parts"]

_MEMORY_RECORDS = 64 << 20  # a byte each in memory; of more records in a file that the system may page out
_MOST_LABELS = 20  # a column of more values is no label whose shares a person would read


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assignment:
    """Which record goes where.

    Args:
        names: of the parts.
        part: uint8 [num_records], the index of each record's part; None where there is one part.
        counts: records of each part.
        labels: for each part its label column's values and how many records have them; empty where there is no such column
            or it has many values.
    """

    names: tuple[str, ...]
    part: np.ndarray | None
    counts: tuple[int, ...]
    labels: Mapping[str, Mapping[str, int]]


def assign_parts(
    source: Source, options: PartOptions, files_of: Mapping[str, Sequence[str]] | None = None
) -> Assignment:
    """Returns the part of every record of a source.

    Args:
        source: of the records.
        options: how it is split.
        files_of: part name to its files, where the user gave files for each part.

    Raises:
        ConfigError: a column that data cannot be split by.
        DataError: a column that is not there, or a record without a time.
    """
    names = tuple(files_of) if files_of else options.names
    label = options.label_column
    if len(names) == 1 and label is None:
        return Assignment(names=names, part=None, counts=(source.num_records,), labels={})
    part = _bytes(source.num_records) if len(names) > 1 else None
    seen: list[collections.Counter[str]] = [collections.Counter() for _ in names]
    counts = np.zeros(len(names), np.int64)
    choose = _chooser(source, options, files_of)
    with Progress("split", source.num_records, "records") as progress:
        first = 0
        for path, batch in source.located_batches():
            chosen = choose(path, first, batch) if len(names) > 1 else np.zeros(batch.num_rows, np.uint8)
            if part is not None:
                part[first : first + batch.num_rows] = chosen
            counts += np.bincount(chosen, minlength=len(names))
            if label is not None:
                _count_labels(column_of(batch, source.aliases.get(label, label)), chosen, seen)
            first += batch.num_rows
            progress.advance(batch.num_rows)
    few = label is not None and len(set().union(*seen)) <= _MOST_LABELS
    labels = {name: dict(sorted(each.items())) for name, each in zip(names, seen)} if few else {}
    return Assignment(names=names, part=part, counts=tuple(int(count) for count in counts), labels=labels)


def _bytes(size: int) -> np.ndarray:
    if size <= _MEMORY_RECORDS:
        return np.zeros(size, np.uint8)
    return np.memmap(tempfile.TemporaryFile(prefix="fullpass-parts-"), np.uint8, "w+", shape=(size,))


Chooser = Callable[[str, int, pa.RecordBatch], np.ndarray]


def _chooser(source: Source, options: PartOptions, files_of: Mapping[str, Sequence[str]] | None) -> Chooser:
    if files_of:
        part_of = {path: index for index, paths in enumerate(files_of.values()) for path in paths}
        return lambda path, first, batch: np.full(batch.num_rows, part_of[path], np.uint8)
    if options.split_time:
        cuts, time = TimeCuts(options), _stored(source, options.split_time)
        return lambda path, first, batch: cuts.parts(column_of(batch, time), path, first)
    fractions = options.fractions or {}
    keys = [_stored(source, name) for name in options.split_by]
    if options.split_by and options.stratify_by:
        return _grouped(source, options, keys)
    if options.stratify_by:
        return _Stratified(source, options, _stored(source, options.stratify_by))
    if options.split_by:
        return lambda path, first, batch: hash_positions(key_hashes(batch, keys, options.seed), fractions).astype(
            np.uint8
        )
    return lambda path, first, batch: hash_positions(_hashes(first, batch.num_rows, options.seed), fractions).astype(
        np.uint8
    )


def _grouped(source: Source, options: PartOptions, keys: Sequence[str]) -> Chooser:
    assert options.stratify_by is not None
    column = _stored(source, options.stratify_by)
    counted = (
        (key_hashes(batch, keys, options.seed), texts_of(column_of(batch, column), column))
        for _, batch in source.located_batches()
    )
    groups = GroupedStrata(counted, np.array(list((options.fractions or {}).values())))
    return lambda path, first, batch: groups.parts_of(key_hashes(batch, keys, options.seed))


def _stored(source: Source, name: str) -> str:
    return source.aliases.get(name, name)


def _hashes(first: int, count: int, seed: int) -> np.ndarray:
    """Random 64 bits of each record's index: uint64 [count]."""
    with np.errstate(over="ignore"):
        value = np.arange(first, first + count, dtype=np.uint64) + np.uint64(1)
        value = value * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed % 2**64) * np.uint64(0xD1342543DE82EF95)
    return mix(value)


class _Stratified:
    """Draws each value's records by themselves, so that each part has its share of them to within one record."""

    def __init__(self, source: Source, options: PartOptions, column: str) -> None:
        self._column = column
        totals: collections.Counter[bytes | None] = collections.Counter()
        for _, batch in source.located_batches():
            counted = pc.value_counts(texts_of(column_of(batch, column), column))
            for entry in counted.to_pylist():
                totals[entry["values"]] += entry["counts"]
        if len(totals) > max(1000, source.num_records // 2):
            raise ConfigError(
                f"stratify_by is {options.stratify_by!r}, which has {len(totals):,} values in {source.num_records:,} records; it "
                "takes a column of few values, such as a label"
            )
        shares = np.array(list((options.fractions or {}).values()))
        self._drawn: dict[bytes | None, np.ndarray] = {}
        for number, value in enumerate(sorted(totals, key=lambda value: (value is not None, value or b""))):
            drawn = np.repeat(np.arange(len(shares), dtype=np.uint8), _quotas(totals[value], shares))
            self._drawn[value] = np.random.default_rng([options.seed % 2**64, number]).permutation(drawn)
        self._used: collections.Counter[bytes | None] = collections.Counter()

    def __call__(self, path: str, first: int, batch: pa.RecordBatch) -> np.ndarray:
        encoded = texts_of(column_of(batch, self._column), self._column).dictionary_encode("encode")
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        parts = np.zeros(batch.num_rows, np.uint8)
        for code, value in enumerate(encoded.dictionary.to_pylist()):
            rows = np.flatnonzero(codes == code)
            start = self._used[value]
            parts[rows] = self._drawn[value][start : start + len(rows)]
            self._used[value] += len(rows)
        return parts


def _quotas(total: int, shares: np.ndarray) -> np.ndarray:
    """Records of each part: whole numbers that sum to the total, by the largest remainder."""
    exact = total * shares
    quotas = np.floor(exact + 1e-9).astype(np.int64)
    for index in np.argsort(-(exact - quotas), kind="stable")[: total - int(quotas.sum())]:
        quotas[index] += 1
    return quotas


def _count_labels(column: pa.Array, parts: np.ndarray, seen: list[collections.Counter[str]]) -> None:
    if pa.types.is_nested(column.type) or any(len(each) > _MOST_LABELS for each in seen):
        return
    if pa.types.is_float16(column.type):  # which Arrow does not count
        column = column.cast(pa.float32())
    if pa.types.is_floating(column.type):
        column = pc.add(column, pa.scalar(0.0, column.type))  # -0.0 is 0.0, as it is where records are put into parts
    for index, each in enumerate(seen):
        for entry in pc.value_counts(column.filter(pa.array(parts == index))).to_pylist():
            value = entry["values"]
            each[as_text(value) if isinstance(value, (bytes, str)) else str(value)] += entry["counts"]
            if len(each) > _MOST_LABELS:
                return
