"""Which kind of input a file is, CSV or one of the formats of `Dataset`: as the user says, by its name, by what is in it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable

from engine.formats.beginnings import holds_nothing, unpacked_head
from engine.formats.csv.text_stream import is_csv
from engine.formats.registry import FORMATS
from engine.formats.tfrecord.stream import HEAD_BYTES, header_holds
from engine.storage import paths as _paths
from engine.storage.pipes import PipedPath

__all__ = ["INPUT_FORMATS", "are_csv_files", "is_csv_file", "kind_of_file"]

INPUT_FORMATS = ("csv", *FORMATS)
_PART_FILE = re.compile(r"part-[\w-]*(\.c\d+)?(\.gz)?")  # what Spark and Hadoop call a file of no telling name


def are_csv_files(paths: Iterable[str], input_format: str | None = None) -> bool:
    """Returns whether files of one kind are read as CSV: the first of them tells that is not an empty part file.

    Args:
        paths: files or URIs.
        input_format: what the user says they are, or None.
    """
    return next((kind for path in paths if (kind := kind_of_file(path, input_format)) is not None), True)


def is_csv_file(path: str, input_format: str | None = None) -> bool:
    """Returns whether a file is read as CSV: as the user says, else by its name, else by what is in it.

    Args:
        path: file or URI.
        input_format: what the user says it is, or None.
    """
    if input_format is not None:
        return input_format == "csv"
    if isinstance(path, PipedPath):
        return not _is_of_a_format(path.open().read(HEAD_BYTES) or b"")
    # Nothing but CSV is read out of a zip archive, whatever it is called.
    if is_csv(path) or path.lower().endswith(".zip"):
        return True
    if not _PART_FILE.fullmatch(path.rsplit("/", 1)[-1]):
        return False
    with _paths.open_input(path) as file:
        head = file.read(HEAD_BYTES) or b""
    return bool(head) and b"\0" not in unpacked_head(head) and not _is_of_a_format(head)


def kind_of_file(path: str, input_format: str | None) -> bool | None:
    """Returns whether a file is CSV; None where it is a pipe or part file that is empty, or packs nothing: it is what the others are.

    Args:
        path: file, URI or pipe.
        input_format: what the user says it is, or None.
    """
    if input_format is None and (isinstance(path, PipedPath) or _PART_FILE.fullmatch(path.rsplit("/", 1)[-1])):
        with contextlib.closing(path.open() if isinstance(path, PipedPath) else _paths.open_input(path)) as file:
            if holds_nothing(file.read(HEAD_BYTES) or b""):
                return None
    return is_csv_file(path, input_format)


def _is_of_a_format(head: bytes) -> bool:
    """Whether a file that begins so is of one of the formats that `Dataset` reads."""
    inner = unpacked_head(head)
    if inner is not head:  # gzip: TFRecord's own check takes all of it for TFRecord
        return header_holds(inner) or FORMATS["jsonl"].matches(head)
    return header_holds(head) or any(module.matches(head) for module in FORMATS.values())
