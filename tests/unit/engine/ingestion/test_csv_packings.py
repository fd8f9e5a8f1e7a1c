"""Packed CSV and JSON lines (gzip, bzip2, Zstandard, xz, zip) are read by what they are, and damage in them is named."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zipfile

import pandas as pd
import pytest
import zstandard

from cluster.cli.main import main
from engine import DataError, ingest, open_source
from tests.support.text_tables import read, through_the_command

PACKINGS = {
    ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}  # fmt: skip


@pytest.mark.parametrize("packing", PACKINGS)
def test_packed_files_are_read_by_what_they_are(tmp_path, packing):
    data = b"a,b\n" + b"".join(b"%d,x%d\n" % (i, i) for i in range(3000))
    packed = PACKINGS[packing](data)
    (tmp_path / f"a.csv{packing}").write_bytes(packed)
    (tmp_path / "b.csv").write_bytes(packed)  # whatever its name says
    for name in (f"a.csv{packing}", "b.csv"):
        assert read(tmp_path / name).to_pydict() == pd.read_csv(io.BytesIO(data)).to_dict("list")


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damaged_packings_name_their_file(tmp_path, packing, damage):
    rows = b"".join(b"%d,%d\n" % (i, i * i % 977) for i in range(20_000))
    packed = bytearray(PACKINGS[packing](b"a,b\n" + rows))
    if damage == "cut":
        del packed[len(packed) // 2 :]
    else:
        packed[len(packed) // 2] ^= 0x55
        if packing == ".zst":
            pytest.skip("this frame has no checksum: nothing in the file says that it changed")
    path = tmp_path / f"a.csv{packing}"
    path.write_bytes(packed)
    with pytest.raises(DataError, match=r"cut off or damaged|is not text|Expected") as caught:
        ingest(path, tmp_path / "out")
    assert caught.value.path == str(path)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_streams_behind_one_another_are_read_or_refused_and_never_left_out(tmp_path, packing, kind):
    """As pbzip2, pixz, `cat` and logs that are appended to make them; Python's readers end where one is damaged."""
    line = b"%d\n" if kind == "csv" else b'{"a":%d}\n'
    parts = [b"".join(line % n for n in range(first, first + 20_000)) for first in (0, 20_000, 40_000)]
    parts[0] = (b"a\n" if kind == "csv" else b"") + parts[0]
    packed = [PACKINGS[packing](part) for part in parts]
    path = tmp_path / f"a.{kind}{packing}"

    def read_all():
        opened = open_source(path)
        return [row for batch in opened.batches() for row in batch.column(0).to_pylist()]

    path.write_bytes(b"".join(packed))
    assert read_all() == list(range(60_000))
    if packing == ".xz":
        path.write_bytes(packed[0] + b"\0" * 8 + packed[1] + packed[2] + b"\0" * 4)
        assert read_all() == list(range(60_000))
    for behind in (b"garbage", b"\xff" + packed[1][1:] + packed[2], packed[1][:-9], packed[1][:3]):
        path.write_bytes(packed[0] + behind)
        with pytest.raises(DataError, match="cut off or damaged") as caught:
            read_all()
        assert caught.value.path == str(path)


def zipped(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__SLASH__", "/"), text)
    return path


def test_zip_archives(tmp_path):
    mac = zipped(tmp_path / "mac.zip", **{"data.csv": "a\n1\n", "__MACOSX/._data.csv": b"\0\5junk"})
    beside = zipped(tmp_path / "beside.csv.zip", **{"x/data.csv": "a\n1\n", "readme.txt": "hello"})
    single = zipped(tmp_path / "single.csv.zip", **{"data.txt": "a\n1\n"})
    for path in (mac, beside, single):
        assert through_the_command(path, tmp_path / "out").to_pydict() == {"a": [1]}


def test_bad_zip_archives_name_their_file(tmp_path, capsys):
    good = zipped(tmp_path / "good.csv.zip", **{"data.csv": "a,b\n" + "1,hello\n" * 50_000}).read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 3] ^= 0xFF
    two = zipped(tmp_path / "two.csv.zip", **{"a.csv": "a\n1\n", "b.csv": "a\n1\n"}).read_bytes()
    cases = {
        "text": b"nope",
        "cut": good[:-10],
        "flipped": bytes(flipped),
        "two": two,
        "none": zipped(tmp_path / "0.zip").read_bytes(),
    }
    for name, data in cases.items():
        path = tmp_path / f"{name}.csv.zip"
        path.write_bytes(data)
        with pytest.raises(DataError) as caught:
            ingest(path, tmp_path / "out")
        assert caught.value.path == str(path), name
        assert main(["-q", "ingest", str(path), "--out", str(tmp_path / "out")]) == 2
        assert "internal error" not in capsys.readouterr().err
