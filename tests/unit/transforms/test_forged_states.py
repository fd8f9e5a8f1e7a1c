"""States whose checksums hold and whose content does not: errors that say what they are and what to do."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import DataError
from transforms.accumulators.framing import decode_state as decode_accumulator
from transforms.accumulators.vocabulary.count_codec import decode_counts
from transforms.beam.states import decode_state as decode_element
from transforms.cache.cache_file import read_span
from transforms.runners.exchange import read_parts


def _framed(magic: bytes, index: Any, body: bytes = b"") -> bytes:
    text = index if isinstance(index, bytes) else json.dumps(index).encode()
    return struct.pack("<4sIQI", magic, 2, len(text), zlib.crc32(text)) + text + body


def _span(data: bytes, directory: Path) -> Any:
    (directory / "day.fpac").write_bytes(data)
    return read_span(directory / "day.fpac")


def _parts(data: bytes, directory: Path) -> Any:
    (directory / "all.parts").write_bytes(data)
    return read_parts(str(directory))


def _state(data: bytes, _: Path) -> Any:
    return decode_accumulator("moments", 1, data)


def _element(data: bytes, _: Path) -> Any:
    return decode_element(data)


def _counts(data: bytes, _: Path) -> Any:
    return decode_counts(data)


_FACTS = {"span": "day", "mark": "m", "records": 3, "analyzers": ["k"], "blobs": []}
_OF_K, _OF_J = ["k", 0, 1, zlib.crc32(b"a")], ["j", 0, 1, zlib.crc32(b"a")]
_STATE = {"name": "moments", "version": 1, "values": {}, "blobs": []}


def _without(facts: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name != key}


@pytest.mark.parametrize(
    ("read", "data", "said"),
    [
        (_span, _framed(b"FPAC", _without(_FACTS, "analyzers")), r"day\.fpac: .*damaged \(KeyError.*delete it"),
        (_span, _framed(b"FPAC", _without(_FACTS, "mark")), r"day\.fpac: .*damaged \(KeyError.*delete it"),
        (_span, _framed(b"FPAC", {**_FACTS, "blobs": [_OF_J]}, b"a"), r"day\.fpac: .*damaged \(KeyError: 'j'.*delete it"),
        (_span, _framed(b"FPAC", {**_FACTS, "blobs": [_OF_K[1:]]}, b"a"), r"day\.fpac: .*damaged.*delete it"),
        (_element, _framed(b"FPBS", {"blobs": []}), "element of the analyzer cache that is damaged.*delete the cache"),
        (_element, _framed(b"FPBS", {"blobs": [_OF_K[1:]]}, b"a"), "element of the analyzer cache that is damaged.*delete"),
        (_counts, _framed(b"FPVC", b"short"), "vocabulary counts that is damaged.*run the analysis again"),
        (_counts, _framed(b"FPVC", struct.pack("<BBHqqq", 1, 0, 1, -1, 8, 0)), "vocabulary counts that is damaged"),
        (_state, _framed(b"FPAS", _without(_STATE, "name")), "not an accumulator state: .*KeyError: 'name'.*run the analysis"),
        (_state, _framed(b"FPAS", _without(_STATE, "values")), "not an accumulator state: .*'values'.*run the analysis"),
        (_state, _framed(b"FPAS", {**_STATE, "blobs": [["a", "<i8", 3]]}, b"abc"), "not an accumulator state: .*run the"),
        (_parts, _framed(b"FPXP", {"blobs": []}), r"all\.parts: .*damaged \(KeyError: 'rows'.*run the pass again"),
        (_parts, _framed(b"FPXP", {"blobs": [[0, 1]], "rows": []}, b"a"), r"all\.parts: .*damaged.*run the pass again"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_forged_content_is_named_with_what_to_do(
    tmp_path: Path, read: Callable[[bytes, Path], Any], data: bytes, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read(data, tmp_path)
