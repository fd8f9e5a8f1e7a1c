"""A Parquet file's footer as numbers, and whether it agrees with itself: no checksum of the format covers it.

pyarrow's own accessors of column chunks (`metadata.row_group(i).column(j)` and its `statistics`) must not be used: what they
throw over a damaged footer ends the whole process, since Cython is not told that they throw.
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from engine import _native
from engine.core.errors import DataError

__all__ = ["Footer", "parse_footer"]


@dataclasses.dataclass(frozen=True, eq=False)
class Footer:
    """What reading and planning ask of a footer.

    Attributes:
        rows: rows of the file.
        digest: hash of the footer's bytes.
        paths: columns of values, parts of nested names joined by dots.
        group_rows: rows of each row group.
        group_bytes: bytes of each row group, uncompressed.
        compressed: bytes on disk, [row groups, columns], as are the others.
        uncompressed: bytes once uncompressed.
        nulls: missing values, -1 where the file does not say.
        values: values, missing ones included.
        text_bytes: bytes of texts once decoded, without their lengths, -1 where the file does not say.
        first_page: offset of a chunk's first page.
        data_page: offset of its first page of values.
    """

    rows: int
    digest: bytes
    paths: tuple[str, ...]
    group_rows: tuple[int, ...]
    group_bytes: tuple[int, ...]
    compressed: np.ndarray
    uncompressed: np.ndarray
    nulls: np.ndarray
    values: np.ndarray
    text_bytes: np.ndarray
    first_page: np.ndarray
    data_page: np.ndarray


def parse_footer(data: bytes, path: str, start: int) -> Footer:
    """Returns the footer.

    Args:
        data: the footer's bytes.
        path: its file, for errors.
        start: offset of the footer in the file.

    Raises:
        DataError: the footer contradicts itself: a changed byte, most likely.
    """
    found = _native.parquet_footer(data)
    if len(found) == 2:
        raise _damaged(found[0], path, start + found[1])
    rows, paths, numbers = found
    groups = numbers.pop("group_rows").tolist(), numbers.pop("group_bytes").tolist()
    chunks = {name: of.reshape(len(groups[0]), len(paths)) for name, of in numbers.items()}
    dictionary, data_page = chunks.pop("dictionary_page"), chunks["data_page"]
    # Some writers say 0, or the place of the values, for a dictionary that is not there.
    chunks["first_page"] = np.where((dictionary > 0) & (dictionary < data_page), dictionary, data_page)
    # Of a group without a row pyarrow writes a size, but no offset.
    sizes = np.where(np.array(groups[0], np.int64)[:, None] > 0, chunks["compressed"], 0)
    _refuse_overlaps(chunks["first_page"], sizes, paths, path, start)
    digest = hashlib.blake2b(data, digest_size=16).digest()
    return Footer(rows, digest, tuple(paths), tuple(groups[0]), tuple(groups[1]), **chunks)


def _refuse_overlaps(first_page: np.ndarray, sizes: np.ndarray, paths: list[str], path: str, start: int) -> None:
    """A wrong offset may be that of another column's pages, which would decode, checksums and all."""
    held = np.flatnonzero(sizes)  # of chunks without a byte the offset means nothing
    order = held[np.argsort(first_page.ravel()[held], kind="stable")]
    begins, lengths = first_page.ravel()[order], sizes.ravel()[order]
    stops = np.append(begins[1:], start)
    wrong = np.flatnonzero(lengths > np.maximum(stops - begins, 0))
    if wrong.size:
        group, column = divmod(int(order[wrong[0]]), len(paths))
        raise _damaged(
            f"column {paths[column]!r} of row group {group} would take bytes {begins[wrong[0]]:,} to "
            f"{int(begins[wrong[0]]) + int(lengths[wrong[0]]):,}, where something else begins at {stops[wrong[0]]:,}",
            path,
            start,
        )


def _damaged(what: str, path: str, offset: int) -> DataError:
    return DataError(
        f"has a damaged footer: {what}. Copy the file anew, or write it again", path=path, offset_bytes=offset
    )
