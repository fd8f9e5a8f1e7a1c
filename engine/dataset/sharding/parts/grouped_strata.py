"""Groups of records that stay together, dealt so that each part gets its share of every value of another column."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError

__all__ = ["GroupedStrata"]

_MOST_PENDING = 1 << 20  # counts of (group, value) that wait to be added up


class GroupedStrata:
    """The part of each group, found from all records.

    Groups are taken from the weightiest to the lightest, equal ones in the order of their hashes, and each goes to the part that then
    departs least from its quotas, by the sum of squared departures over quotas (chi-square), of each value and of records in all.
    Neither the order of records nor that of files matters.

    Args:
        counted: (hash of each record's keys: uint64, each record's value as bytes) of all records.
        shares: of the parts.

    Raises:
        ConfigError: fewer groups than parts.
    """

    def __init__(self, counted: Iterable[tuple[np.ndarray, pa.Array]], shares: np.ndarray) -> None:
        groups, values, counts = _add_up(counted)
        self._hashes, starts = np.unique(groups, return_index=True)
        if len(self._hashes) < len(shares):
            raise ConfigError(
                f"the keys have {len(self._hashes)} values for {len(shares)} parts; it takes at least one for each part, or other keys"
            )
        ends = np.append(starts[1:], len(groups))
        sizes = np.add.reduceat(counts, starts)
        totals = np.bincount(values, counts)
        quotas = np.outer(shares, totals)
        # What a group weighs in the sum: many records, or many of a rare value.
        weights = np.add.reduceat(counts**2 / totals[values], starts) + sizes**2 / counts.sum()
        deal = _dealer(quotas.tolist(), (shares * counts.sum()).tolist())
        self._parts = np.zeros(len(self._hashes), np.uint8)
        value_list, count_list = values.tolist(), counts.tolist()
        for group in np.lexsort((self._hashes, -weights)).tolist():
            first, last = int(starts[group]), int(ends[group])
            self._parts[group] = deal(value_list[first:last], count_list[first:last], int(sizes[group]))

    def parts_of(self, hashes: np.ndarray) -> np.ndarray:
        """Returns the part of each record: uint8.

        Args:
            hashes: of its keys, which were counted before.
        """
        return self._parts[np.searchsorted(self._hashes, hashes)]


def _dealer(quotas: list[list[float]], totals: list[float]) -> Callable[[list[int], list[int], int], int]:
    """Returns what deals one group: (its values, how many records have each, records) to the index of a part."""
    have = [[0] * len(each) for each in quotas]
    records = [0] * len(totals)
    parts = range(len(totals))

    def deal(values: list[int], counts: list[int], size: int) -> int:
        # What the squares grow by where the group goes to a part, without what is the same for all.
        def growth(part: int) -> float:
            mine, wanted = have[part], quotas[part]
            of_values = sum(c * (2 * mine[v] + c) / wanted[v] for v, c in zip(values, counts))
            return of_values + size * (2 * records[part] + size) / totals[part]

        best = min(parts, key=growth)
        for value, count in zip(values, counts):
            have[best][value] += count
        records[best] += size
        return best

    return deal


def _add_up(counted: Iterable[tuple[np.ndarray, pa.Array]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(group, number of the value, records) of each group and value that occur, ordered by group."""
    waiting: list[pa.Table] = []
    pending = 0
    for hashes, values in counted:
        batch = pa.table({"group": hashes, "value": values, "n": np.ones(len(hashes), np.int64)})
        waiting.append(_summed(batch))
        pending += waiting[-1].num_rows
        if pending > _MOST_PENDING:
            waiting = [_summed(pa.concat_tables(waiting))]
            pending = 0
    table = _summed(pa.concat_tables(waiting))
    encoded = table["value"].combine_chunks().dictionary_encode("encode")
    # By the text of values, so that the order of records does not tell their numbers.
    texts = encoded.dictionary.to_pylist()
    rank = np.argsort(np.array(sorted(range(len(texts)), key=lambda at: (texts[at] is not None, texts[at] or b""))))
    number = rank[encoded.indices.to_numpy(zero_copy_only=False)]
    groups = table["group"].to_numpy()
    order = np.lexsort((number, groups))
    return groups[order], number[order], table["n"].to_numpy()[order]


def _summed(table: pa.Table) -> pa.Table:
    return table.group_by(["group", "value"]).aggregate([("n", "sum")]).rename_columns({"n_sum": "n"})
