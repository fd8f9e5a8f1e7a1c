"""What the names of shards say of their number: `data-00003-of-00064`, as TFDS, Beam, Hugging Face and this project name them."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["absent_shards", "numbered"]

# Of other writers, too: their separators and numbers of digits differ.
_NUMBERED = re.compile(r"(.*[-_.])(\d{4,})(-of-)(\d{4,})(.*)")
_NAMED = 3
_MOST = 1_000_000  # a longer number is part of a name, and no count


def numbered(stem: str, index: int, count: int, suffix: str = "") -> str:
    """Returns the name of one shard of several, e.g. "data-00003-of-00064.tfrecord"; `stem` has no hyphen at its end."""
    return f"{stem}-{index:05d}-of-{count:05d}{suffix}"


def absent_shards(paths: Iterable[str]) -> list[str]:
    """Returns a sentence for each set of numbered shards of which some are not among the files."""
    found: dict[tuple[str, str, str], set[int]] = {}
    for path in paths:
        match = _NUMBERED.fullmatch(path)
        if match and int(match[2]) < int(match[4]) <= _MOST:
            found.setdefault((match[1], match[4], match[5]), set()).add(int(match[2]))
    said = []
    for (stem, total, suffix), numbers in found.items():
        absent = sorted(set(range(int(total))) - numbers)
        if absent:
            names = ", ".join(
                f"{stem}{number:0{len(total)}d}-of-{total}{suffix}".rsplit("/", 1)[-1] for number in absent[:_NAMED]
            )
            more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
            said.append(f"the names of shards say that there are {int(total)}, of which {names}{more} are not read")
    return said
