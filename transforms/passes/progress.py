"""Progress of a pass, the same with every runner: rows, bytes, rows a second, time left, and what follows the reading."""

from __future__ import annotations

from engine.core.progress import Progress

__all__ = ["PassProgress", "share_text"]

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


class PassProgress(Progress):
    """Shows how far a pass has come.

    Runners count rows; bytes are the same share of the files' size.

    Args:
        label: what is being done, e.g. "analyze, pass 1".
        rows: of the data set, or None where unknown.
        size_bytes: of the data set's files, wherever they are (`Dataset.size_bytes`).
        following: what comes when all rows are read, e.g. "merging".
    """

    def __init__(self, label: str, rows: int | None, size_bytes: int, following: str = "") -> None:
        super().__init__(label, rows, "rows")
        self._following = following
        self._bytes = size_bytes

    def update(self, done: int, note: str = "") -> None:
        """Sets the rows done so far."""
        super().update(done, note or self._note(done))

    def _note(self, done: int) -> str:
        if self._following and self.total and done >= self.total:
            return self._following
        notes = []
        if self.total and self._bytes:
            notes.append(share_text(self._bytes, min(done, self.total) / self.total))
        if self._bar is not None:  # a line in a log has it already
            notes.append(f"{self.rate(done) / 1000:,.0f}k/s")
        return ", ".join(notes)


def share_text(count: float, done: float) -> str:
    """Returns how many bytes of how many are done, in one unit, e.g. "1.2/3.4 GB"; `done` is a share."""
    at = 0
    while count >= 1000 and at < len(_UNITS) - 1:
        count, at = count / 1000, at + 1
    return f"{count * done:.{min(at, 1)}f}/{count:.{min(at, 1)}f} {_UNITS[at]}"
