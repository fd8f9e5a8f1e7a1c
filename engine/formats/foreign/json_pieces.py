"""JSON lines that the reader has room for, or what is wrong with them: it ends the process over some, and takes bytes of any text.

Its columns are every key that any object has, and each has a place for each object: objects whose keys are values (`{"user 17": 3}`)
take the square of their number.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine import _native

__all__ = ["BadLine", "read_pieces"]

_MOST_DEEP = 128  # as Arrow's own messages: the reader recurses over types, and a stack that overflows ends the process
MOST_CELLS = 1 << 24  # keys times objects, of what is read at once: each may take eight bytes, or more in a list
_MANY_KEYS = 1 << 14
_CELLS_A_BYTE = 64  # an object of all keys has less than one; of more, next to all of a table would be missing values


class BadLine(ValueError):
    """What is refused: `row` is counted from the first of the lines."""

    def __init__(self, message: str, row: int) -> None:
        self.message, self.row = message, row
        super().__init__(f"{message} in row {row}")


def read_pieces(text: bytes) -> Iterator[tuple[bytes, int]]:
    """Yields (lines, the row of their first): all of them, or as many as there is room for where objects have many different keys.

    Args:
        text: whole lines.

    Raises:
        BadLine: text that is not UTF-8, what is no object, objects nested too deeply or with too many different keys.
    """
    if not text.strip():
        return
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise BadLine(f"the line is not text of UTF-8: {error.reason}", _row_of(text, error.start)) from error
    depth, stray, objects, keys, _ = _native.json_shape(text)
    if stray >= 0:  # of a first line `null` the reader ends the process
        raise BadLine(f"here is {_shown(text[stray:])} and not an object: {{...}}", _row_of(text, stray))
    if depth > _MOST_DEEP:
        raise BadLine(f"objects and lists are nested {depth:,} deep; {_MOST_DEEP} are read", 0)
    if objects * keys <= MOST_CELLS:
        yield text, 0
        return
    if keys > _MANY_KEYS and objects * keys > _CELLS_A_BYTE * len(text):
        raise BadLine(_too_many(keys), 0)
    yield from _cut(text, max(1, text.count(b"\n") * MOST_CELLS // (objects * keys)))


def _cut(text: bytes, size: int) -> Iterator[tuple[bytes, int]]:
    """Yields lines by so many, or all at once where objects reach over several of them."""
    lines = text.splitlines(keepends=True)
    pieces = [b"".join(lines[start : start + size]) for start in range(0, len(lines), size)]
    shapes = [_native.json_shape(piece) for piece in pieces]
    if any(stray >= 0 or still_open for _, stray, _, _, still_open in shapes):
        pieces, shapes = [text], [_native.json_shape(text)]
    row = 0
    for piece, (_, _, objects, keys, _) in zip(pieces, shapes):
        if objects * keys > max(4 * MOST_CELLS, _CELLS_A_BYTE * len(piece)):
            raise BadLine(_too_many(keys), row)
        if piece.strip():
            yield piece, row
        row += sum(1 for line in piece.splitlines() if line.strip())


def _too_many(keys: int) -> str:
    return (
        f"objects have {keys:,} different keys or more, of which each has few, as where keys are values: write "
        '[{"key": ..., "value": ...}] for these'
    )


def _row_of(text: bytes, offset: int) -> int:
    return sum(1 for line in text[:offset].split(b"\n")[:-1] if line.strip())


def _shown(rest: bytes) -> str:
    return repr(rest.split(b"\n", 1)[0].strip()[:40].decode(errors="replace"))
