"""The cell that turned a column of numbers into text, named."""

from __future__ import annotations

import dataclasses

__all__ = ["OddCell", "shown"]

_SHOWN = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class OddCell:
    """The first value that is not a number in a CSV column whose values mostly are.

    Attributes:
        path: the file.
        column: its name.
        record: index of the row, the first below the header being 0.
        value: the text.
        texts: values of the column that are not numbers.
        values: values of the column in all.
    """

    path: str
    column: str
    record: int
    value: str
    texts: int
    values: int

    def __str__(self) -> str:
        return (
            f"column {self.column!r} is text: {self.texts:,} of {self.values:,} values {'is' if self.texts == 1 else 'are'} "
            f"no number{'' if self.texts == 1 else 's'}, the first {shown(self.value)} in {self.path}, record {self.record}"
        )


def shown(value: str) -> str:
    """Returns the value in quotes, cut where it is long."""
    return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "...")
