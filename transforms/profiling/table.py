"""Statistics as a table for people: a line a feature."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.core.text_encoding import one_line

__all__ = ["shares_lines", "statistics_table"]

_HEAD = ("feature", "type", "missing", "values a record", "mean", "std", "zeros", "min", "median", "max")
_TEXT_WIDTH = 60
_SHOWN_VALUES = 10  # of a label


def statistics_table(dataset: Any, show: int | None = None) -> str:
    """Returns a table of numeric features and one of the others.

    Args:
        dataset: `DatasetFeatureStatistics`.
        show: most features of each table; None for all.
    """
    numbers = [each for each in dataset.features if each.WhichOneof("stats") == "num_stats"]
    others = [each for each in dataset.features if each.WhichOneof("stats") != "num_stats"]
    lines = [f"{dataset.name}: {dataset.num_examples:,} records"]
    if numbers:
        lines += _table(_HEAD, [_number_row(each) for each in numbers[:show]], len(numbers))
    if others:
        head = (*_HEAD[:4], "distinct", "mean bytes", "most frequent")
        lines += _table(head, [_other_row(each) for each in others[:show]], len(others))
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], total: int) -> list[str]:
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    right = {name for name in head if name not in ("feature", "type", "most frequent")}
    lines = [
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width) for name, cell, width in zip(head, row, widths)
        ).rstrip()
        for row in [head, *rows]
    ]
    return ["", *lines, *([f"and {total - len(rows):,} more"] if total > len(rows) else [])]


def _begin(feature: Any, common: Any, size: int) -> list[str]:
    low, high = common.min_num_values, common.max_num_values
    missing = f"{common.num_missing / size:.1%}" if size and common.num_missing else "0" if size else "–"
    kind = type(feature).Type.Name(feature.type)
    return [".".join(feature.path.step), kind, missing, f"{low}" if low == high else f"{low}–{high}"]


def _number_row(feature: Any) -> list[str]:
    stats = feature.num_stats
    common = stats.common_stats
    zeros = f"{stats.num_zeros / common.tot_num_values:.1%}" if common.tot_num_values else "–"
    middle = [_number(stats.mean), _number(stats.std_dev), zeros]
    ends = [_number(each) for each in (stats.min, stats.median, stats.max)]
    return [*_begin(feature, common, common.num_non_missing + common.num_missing), *middle, *ends]


def _other_row(feature: Any) -> list[str]:
    kind = feature.WhichOneof("stats")
    stats = getattr(feature, kind)
    common = stats.common_stats
    begin = _begin(feature, common, common.num_non_missing + common.num_missing)
    mean = _number(stats.avg_length if kind == "string_stats" else stats.avg_num_bytes)
    top = ""
    if kind == "string_stats" and common.tot_num_values:
        shares = [f"{each.value!r} {each.frequency / common.tot_num_values:.1%}" for each in stats.top_values[:5]]
        top = ", ".join(shares)
    about = "~" if any(each.name == "unique_relative_error" for each in feature.custom_stats) else ""
    return [*begin, f"{about}{stats.unique:,}", mean, _cut(top)]


def _shown(value: str) -> str:
    """A value that cannot act on a terminal, nor fill it."""
    return _cut(one_line(value))


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_WIDTH else f"{text[: _TEXT_WIDTH - 1]}…"


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    whole = math.isfinite(value) and value == round(value) and abs(value) < 1e15
    return f"{value:.0f}" if whole else f"{value:.4g}"


def shares_lines(label_shares: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each label: its most frequent values with their shares."""
    for name, each in label_shares.items():
        first = list(each.shares.items())[:_SHOWN_VALUES]
        shown = [f"{_shown(value)} {share:.2%} ({each.counts[value]:,})" for value, share in first]
        more = len(each.counts) - len(shown)
        notes = [f"{more:,} more"] * (more > 0) + [f"{each.missing:,} without"] * (each.missing > 0)
        notes += ["counts are not exact: too many values"] * (not each.exact)
        yield f"{name}: {', '.join([*shown, *notes]) or 'no values'}"
