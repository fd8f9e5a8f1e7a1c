"""The schema of records that nobody described: from all of them, or the first ones of every file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from engine import _native
from engine.core.errors import DataError
from engine.formats.tfrecord.framing import framing_fault, scan_window
from engine.formats.tfrecord.inferred_schema import inferred_schema
from engine.formats.tfrecord.stream import Window, file_compression

__all__ = ["infer_schema"]

_FIRST_FILL_BYTES = 4 << 20
_BEGINNINGS = b"\x0a\x12"  # the features of a tf.Example, the context or the lists of a tf.SequenceExample
_KINDS = {1: "bytes", 2: "float", 3: "int64"}


def infer_schema(paths: Sequence[str], sample_bytes: int | None = 256 << 20) -> pa.Schema:
    """Returns the schema of the records: of all of them where the files are small, else of the first of every file.

    Args:
        paths: files to look at.
        sample_bytes: bytes to look at in all, shared evenly among the files; None for all.

    Raises:
        DataError: a record that is not a tf.Example or tf.SequenceExample, records that are all another message, a feature that holds
            one kind here and another there, or one whose name is no text.
    """
    inference = _native.Inference()
    budget = 1 << 62 if sample_bytes is None else sample_bytes
    share = max(budget // len(paths), 1 << 16)
    whole = True
    for path in paths:
        compression = file_compression(path)
        if budget <= 0:
            whole = False
            break
        with Window(path, compression) as window:
            used, whole_file = _observe(inference, window, min(share, budget))
        budget -= used
        whole = whole and whole_file
    _refuse_other_names(inference, paths)
    _refuse_mixed_kinds(inference, paths)
    if not inference.features() and not inference.feature_lists():
        _refuse_other_messages(paths)
    return inferred_schema(inference, whole)


def _observe(inference: Any, window: Window, limit_bytes: int) -> tuple[int, bool]:
    records_before = 0
    while window.offset < limit_bytes:
        window.fill(_FIRST_FILL_BYTES)
        records, status, consumed, needed, _ = scan_window(window, limit_bytes, 1 << 62)
        if len(records):
            bad = inference.observe(window.buffer, records)
            if bad >= 0:
                offset = window.offset + records.place(bad)[0] - window.begin - 12
                raise DataError(
                    "the payload is neither a tf.Example nor a tf.SequenceExample",
                    path=window.path,
                    record=records_before + bad,
                    offset_bytes=offset,
                )
            records_before += len(records)
            window.use(consumed)
        elif status == _native.NEED_MORE and not window.at_end:
            window.fill(max(needed, 2 * window.available))
        elif window.available:
            raise framing_fault(window, status, needed, records_before)
        else:
            return window.offset, True
    window.fill(1)
    return window.offset, not window.available


def _refuse_other_names(inference: Any, paths: Sequence[str]) -> None:
    """Checks that every name is UTF-8, which protobuf asks for and not every writer sees to: a column has no other name."""
    for what, found in (("feature", inference.features()), ("feature list", inference.feature_lists())):
        for key, *_ in found:
            try:
                key.decode()
            except UnicodeDecodeError as error:
                places = ((path, at, start) for path, at, start, own in _kinds_of_records(what, key, paths) if own)
                path, record, offset = next(places, (paths[0], None, None))
                raise DataError(
                    f"the name of {what} {key!r} is no text of UTF-8; leave it out with a feature_spec, or write it anew",
                    path=path,
                    record=record,
                    offset_bytes=offset,
                ) from error


def _refuse_other_messages(paths: Sequence[str]) -> None:
    """Checks that records without a feature are no messages of another kind: of those each field is one that nobody knows.

    The first of them that has a byte tells it, where it is among the first of its file.
    """
    for path in paths:
        with Window(path, file_compression(path)) as window:
            window.fill(_FIRST_FILL_BYTES)
            records, *_ = scan_window(window, 1 << 62, 1 << 62)
            for index in range(len(records)):
                place, size = records.place(index)
                if size and window.buffer[place] not in _BEGINNINGS:
                    raise DataError(
                        "the payload is a message with no feature of a tf.Example, such as tf.io.serialize_tensor writes: write it anew "
                        "as tf.Examples, which may have those bytes as a feature",
                        path=path,
                        record=index,
                        offset_bytes=window.offset + place - window.begin - 12,
                    )
                if size:
                    return


def _refuse_mixed_kinds(inference: Any, paths: Sequence[str]) -> None:
    """Checks that every feature has one kind; where one has two, looks for the first record of the second kind."""
    for what, found in (("feature", inference.features()), ("feature list", inference.feature_lists())):
        for key, kinds, *_ in found:
            if len(_names(kinds)) < 2:
                continue
            seen = 0
            for path, record, offset, own in _kinds_of_records(what, key, paths):
                if seen and own & ~seen:
                    raise DataError(
                        f"{what} {key.decode(errors='backslashreplace')!r} holds {_names(own & ~seen)[0]} here and "
                        f"{_names(seen)[0]} in records before; leave it out with a feature_spec, or write it anew",
                        path=path,
                        record=record,
                        offset_bytes=offset,
                    )
                seen |= own


def _names(kinds: int) -> list[str]:
    return [name for number, name in _KINDS.items() if kinds >> number & 1]


def _kinds_of_records(what: str, key: bytes, paths: Sequence[str]) -> Iterator[tuple[str, int, int, int]]:
    """Yields (file, record, its offset, kinds of the feature in it) of one record after another: slow, for an error alone."""
    for path in paths:
        record = 0
        with Window(path, file_compression(path)) as window:
            while True:
                found, status, consumed, needed, _ = scan_window(window, 1 << 62, 1)
                if len(found):
                    alone = _native.Inference()
                    alone.observe(window.buffer, found)
                    features = alone.features() if what == "feature" else alone.feature_lists()
                    own = next((kinds for name, kinds, *_ in features if name == key), 0)
                    yield path, record, window.offset, own
                    record += 1
                    window.use(consumed)
                elif status == _native.NEED_MORE and not window.at_end:
                    window.fill(max(needed, 2 * window.available, _FIRST_FILL_BYTES))
                else:
                    break
