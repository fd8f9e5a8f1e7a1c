"""Files and states of earlier versions, laid down here byte by byte: read as before, or refused by name."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from engine import DataError
from transforms.accumulators.framing import decode_state, encode_state
from transforms.accumulators.vocabulary.count_codec import decode_counts
from transforms.cache.cache_file import read_span


def test_file_of_an_analyzer_cache(tmp_path: Path) -> None:
    blobs = [["k", 0, 3, zlib.crc32(b"abc")], ["k", 2, 4, zlib.crc32(b"defg")]]
    facts = {"span": "day", "mark": "m", "records": 3, "analyzers": ["empty", "k"], "blobs": blobs}
    index = json.dumps(facts).encode()
    head = struct.pack("<4sIQI", b"FPAC", 2, len(index), zlib.crc32(index))
    path = tmp_path / "day.fpac"
    path.write_bytes(head + index + b"abcdefg")
    found = read_span(path)
    assert found is not None and (found.span, found.mark, found.records) == ("day", "m", 3)
    assert found.parts == {"empty": {}, "k": {0: b"abc", 2: b"defg"}}
    path.write_bytes(struct.pack("<4sI", b"FPAC", 1) + head[8:] + index + b"abcdefg")
    assert read_span(path) is None  # its index had no checksum: the span is read again


def test_state_of_an_accumulator() -> None:
    arrays = [["a", "<i8", [3], 24], ["b", "bytes", [2], 19]]
    header = json.dumps({"name": "moments", "version": 1, "arrays": arrays, "values": {"n": 2}}).encode()
    body = np.arange(3).tobytes() + struct.pack("<qq", 1, 2) + b"xyz"
    blob = b"FPA1" + struct.pack("<I", len(header)) + header + body
    for data in (blob, memoryview(blob)):
        found, values = decode_state("moments", 1, data)
        assert found["a"].tolist() == [0, 1, 2] and found["b"].tolist() == [b"x", b"yz"] and values == {"n": 2}
    with pytest.raises(DataError, match="are not an accumulator state"):
        decode_state("moments", 1, blob[:9])
    new = encode_state("moments", 1, found, values)
    assert {key: array.tolist() for key, array in decode_state("moments", 1, new)[0].items()} == {
        "a": [0, 1, 2],
        "b": [b"x", b"yz"],
    }


def test_counts_of_a_vocabulary() -> None:
    head = struct.pack("<4sBBHqqq", b"FPV1", 0, 1, 1, 2, 3, 2)
    blob = head + struct.pack("<qq", 5, 7) + struct.pack("<qqq", 0, 1, 3) + b"abb"
    counts = decode_counts(memoryview(blob))
    assert counts.tokens.to_pylist() == [b"a", b"bb"] and counts.measures.tolist() == [[5, 7]]
    assert counts.ordered and counts.distinct == 2
    numbers = struct.pack("<4sBBHqqq", b"FPV1", 1, 0, 1, 2, 16, 2) + struct.pack("<qqqq", 1, 1, -3, 9)
    assert decode_counts(numbers).tokens.to_pylist() == [-3, 9]
    for damaged in (blob[:-1], head, head[:20], struct.pack("<4sB", b"FPV1", 9) + head[5:]):
        with pytest.raises(DataError):
            decode_counts(damaged)
