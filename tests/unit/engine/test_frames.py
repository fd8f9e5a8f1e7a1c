"""Framed bytes: what is packed comes back, and any flipped, cut or foreign byte is refused by name."""

from __future__ import annotations

import json
import struct
import zlib

import pytest

from engine import DataError
from engine.storage.frames import Frame, OtherVersion, mapped

FRAME = Frame(magic=b"TEST", version=3, name="a frame of tests", remedy="delete it")
BLOBS = [(["a", 0], b"first"), (["b", 1], b""), (["b", 2], memoryview(b"third"))]


def packed(frame=FRAME):
    return b"".join(frame.pack({"rows": 12, "name": "é"}, BLOBS))


def test_what_is_packed_comes_back_and_lies_as_documented(tmp_path):
    (tmp_path / "file").write_bytes(packed())
    facts, blobs = FRAME.unpack(mapped(tmp_path / "file"))
    assert facts == {"rows": 12, "name": "é"}
    assert [(label, bytes(blob)) for label, blob in blobs] == [(label, bytes(blob)) for label, blob in BLOBS]
    entries = [["a", 0, 5, zlib.crc32(b"first")], ["b", 1, 0, 0], ["b", 2, 5, zlib.crc32(b"third")]]
    index = json.dumps({"rows": 12, "name": "é", "blobs": entries}).encode()
    head = b"TEST" + struct.pack("<I", 3) + struct.pack("<Q", len(index)) + struct.pack("<I", zlib.crc32(index))
    assert packed() == head + index + b"firstthird"


def test_any_flipped_cut_or_added_byte_is_found():
    whole = packed()
    for at in range(len(whole)):
        for damaged in (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole[:at]):
            with pytest.raises(DataError, match="delete it"):
                FRAME.unpack(damaged, "file")
    with pytest.raises(DataError, match=r"damaged \(it holds \d+ bytes, its index says"):
        FRAME.unpack(whole + b"x")


def test_blobs_without_checksums_still_have_their_sizes_and_a_checked_index():
    frame = Frame(magic=b"TEST", version=3, name="a frame of tests", remedy="delete it", checks_blobs=False)
    whole = packed(frame)
    begin = whole.index(b"firstthird")
    for at in range(begin):
        with pytest.raises(DataError):
            frame.unpack(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    for cut in (whole[:-1], whole + b"x"):
        with pytest.raises(DataError, match=r"cut off|its index says"):
            frame.unpack(cut)


def test_other_kinds_and_versions_are_told_apart(tmp_path):
    with pytest.raises(
        OtherVersion, match=r"file: expected a frame of tests of version 4, got version 3: another version of Fullpass"
    ):
        Frame(magic=b"TEST", version=4, name="a frame of tests", remedy="delete it").unpack(packed(), "file")
    with pytest.raises(DataError, match=r"begins with b'PK\\x03\\x04', expected b'TEST'; delete it") as found:
        FRAME.unpack(b"PK\x03\x04 and so on", "file")
    assert found.value.path == "file" and not isinstance(found.value, OtherVersion)
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match="begins with b''"):
        FRAME.unpack(mapped(tmp_path / "empty"))


@pytest.mark.parametrize("blobs", ["1", "[1]", "[[]]", '[["a", "b", 1]]', '[["a", -1, 1]]', '[["a", 1.0, 1]]'])
def test_entries_of_another_shape_are_refused(blobs):
    with pytest.raises(DataError, match="damaged"):
        FRAME.unpack(FRAME.head(f'{{"blobs": {blobs}}}'.encode()))


@pytest.mark.parametrize("index", [b"[]", b"{}", b"1", b"{", b"\xff"])
def test_index_of_another_shape_is_refused(index):
    with pytest.raises(DataError, match="damaged"):
        FRAME.unpack(FRAME.head(index))
