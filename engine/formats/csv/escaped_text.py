"""CSV with escape characters, rewritten as CSV with quoted values: everything behind it knows that one way alone."""

from __future__ import annotations

from engine import _native
from engine.core.errors import ConfigError, DataError
from engine.formats.csv.options import CsvOptions
from engine.formats.csv.text_stream import TextStream

__all__ = ["EscapedText"]


class EscapedText:
    """The text of a file from its row of names on.

    Args:
        text: what was not read yet.
        options: how it is written.
        delimiter: that is used.
        ahead: what was read already.
        ended: whether that is all.
        fault: what is wrong behind it.

    Attributes:
        written_quote: character around values of what is given out.
    """

    def __init__(
        self,
        text: TextStream,
        options: CsvOptions,
        delimiter: str,
        ahead: bytes,
        ended: bool,
        fault: DataError | None,
    ) -> None:
        self._text, self._options, self._delimiter = text, options, delimiter
        self._raw, self._ended, self._fault = ahead, ended, fault
        self.written_quote = options.quote or _free_character(delimiter, options)
        # A text that means "missing", such as \\N, is none that escapes something.
        self._kept = frozenset(text for text in options.null_values or () if options.escape in text)

    def read_parts(self, size: int) -> tuple[list[bytes], bool, DataError | None]:
        """Returns (more text, whether it is the last, what is wrong behind it), as `TextStream` does of what is not rewritten.

        Args:
            size: bytes that are read at least, if there are as many; of one value that is longer none is given out, and the next
                call must ask for more.
        """
        parts: list[bytes] = []
        if not self._ended and self._fault is None:
            parts, self._ended, self._fault = self._text.read_parts(size)
        raw = b"".join([self._raw, *parts])
        options = self._options
        quote = ord(options.quote) if options.quote else -1
        taken, found, dangling = _native.csv_unescape(
            raw, self._delimiter, quote, options.escape, self.written_quote, self._kept, self._ended
        )
        self._raw = raw[taken:]
        if dangling:
            self._fault = DataError(
                f"ends in the escape character {options.escape!r}: what it escapes is cut off", path=self._text.path
            )
        return [found], self._ended, self._fault


def _free_character(delimiter: str, options: CsvOptions) -> str:
    """A character to put around values where the file has none for it: in no text that means "missing", which stays as it is."""
    taken = {delimiter, *"".join(options.null_values or ())}
    free = next((mark for mark in "\"'`~^\x1f\x1e\x1d\x1c" if mark not in taken), None)
    if free is None:
        raise ConfigError("null_values hold every character that could be put around values; leave some of them out")
    return free
