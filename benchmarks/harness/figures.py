"""Figures that were typed by hand: what a reader would take for a measurement, outside of what says how it was measured.

Exempt are tables made of files of results, and code. A figure that no file of results is behind has no place on a page.
"""

from __future__ import annotations

import re

__all__ = ["figures_by_hand", "ratios_by_hand"]

_EXEMPT = re.compile(r"<!-- bench: [^>]+? -->.*?<!-- /bench -->", re.DOTALL)
_CODE = re.compile(r"^( *)```.*?^\1```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
_NUMBER = r"(?<![\w.,])(\d[\d,]*(\.\d+)?|two|three|four|five|six|seven|eight|nine|ten|twenty)"
_RANGE = rf"{_NUMBER}( (to|and|or) (\d[\d,]*(\.\d+)?|\w+))?"
_DECIMAL = r"(?<![\w.,])\d[\d,]*\.\d+"
_RATIO = re.compile(
    r"\d+\.\d+ \(\d+(\.\d+)? to \d+(\.\d+)?\)"  # 1.9 (1.2 to 2.1)
    rf"|{_RANGE} ?(×|x|times) (as (fast|quick|slow|long)|the (speed|time|processor|memory|metrics)|what one|that of"
    r"|faster|slower|quicker|cheaper|less|longer)"
    rf"|{_DECIMAL} ?(×|x|times)\b"
    rf"|{_NUMBER} ?% (more|less|fewer) (processor |wall )?(time|memory|seconds)\b"
    r"|(half|twice|a third|a quarter) (of )?(its|the|their|that) (speed|rate|time)\b",
    re.IGNORECASE,
)
_UNIT_OF_WORK = (
    r"(records|rows|examples|requests|queries|tokens|batches|steps|samples|predictions|strings|files|[KMGT]i?B)"
)
_QUANTITY = re.compile(
    rf"{_NUMBER} (million |thousand |billion )?{_UNIT_OF_WORK}(/s\b| (a|per|each) second\b)"
    rf"|{_DECIMAL}( to \d[\d.,]*)? (ns|µs|us|ms|s|seconds|minutes|min|hours|[KMGT]i?B)\b"
    rf"|{_NUMBER}( to \d[\d.,]*)? (ns|µs|us)\b"
    rf"|\b(takes|took|costs|needed|peaks?( at)?|grew by) (about |some |only |up to )?{_NUMBER}"
    r"( to \d[\d.,]*)? (ms|s|seconds|minutes|hours|[KMGT]i?B)\b"
)


def ratios_by_hand(text: str) -> list[str]:
    """Returns the lines of a page that hold a ratio typed by hand."""
    return _found(text, _RATIO)


def figures_by_hand(text: str) -> list[str]:
    """Returns the lines of a page that hold a ratio, a rate, or a time or size with the digits of a measurement, typed by hand."""
    return _found(text, re.compile(f"{_RATIO.pattern}|{_QUANTITY.pattern}", re.IGNORECASE))


def _found(text: str, pattern: re.Pattern[str]) -> list[str]:
    bare = text
    for exempt in (_EXEMPT, _CODE):
        bare = exempt.sub(lambda found: "\n" * found[0].count("\n"), bare)
    return [f"{number}: {line.strip()}" for number, line in enumerate(bare.splitlines(), 1) if pattern.search(line)]
