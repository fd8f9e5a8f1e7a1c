"""Packed JSON lines: parsed once where there is room for what was parsed, with the values of the plain file."""

from __future__ import annotations

import gzip
import json
import shutil
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.json
import pytest

from engine import DataError, Dataset, ingest
from engine.formats.foreign import jsonl
from engine.formats.spool import Spool

ROWS = [
    {
        "n": number if number % 7 else None,
        "x": number / 4 if number > 300 else number,
        "day": f"2024-01-{number % 28 + 1:02}",
        "days": [f"2024-01-{number % 28 + 1:02}T00:00:00Z"] * (number % 3),
        "in": {"at": f"2024-02-{number % 28 + 1:02}", "n": number},
        **({"late": f"20{number % 90 + 10}-01-01"} if number > 200 else {}),
        **({"mixed": "2024-01-01" if number < 250 else "none"} if number % 2 else {}),
    }
    for number in range(500)
]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """(packed, plain) of the same lines, which are about fifty pieces."""
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 2000)
    text = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text))
    (tmp_path / "b.jsonl").write_bytes(text)
    return tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl"


def rows_of(path):
    dataset = Dataset.open(path)
    return dataset.schema, pa.Table.from_batches(dataset.read_batches(), dataset.schema).to_pylist()


@pytest.mark.parametrize("memory_bytes", [16 << 20, 0], ids=["memory", "disk"])
@pytest.mark.parametrize("room", [True, False])
def test_values_and_types_are_those_of_the_plain_file(files, tmp_path, monkeypatch, room, memory_bytes):
    packed, plain = files
    monkeypatch.setattr(jsonl, "KEPT_IN_MEMORY", memory_bytes)
    if not room:
        monkeypatch.setattr(Spool, "add", lambda self, batch: None)
    assert rows_of(packed) == rows_of(plain)
    expected = [{name: row.get(name) for name in rows_of(plain)[0].names} for row in ROWS]
    assert rows_of(packed)[1] == expected
    ingest(packed, tmp_path / "out", num_shards=3)
    assert rows_of(tmp_path / "out")[1] == expected


def test_each_piece_is_parsed_once(files, tmp_path, monkeypatch):
    packed, _ = files
    lines = [json.dumps({"n": row["n"], "day": row["day"]}) for row in ROWS]
    packed.write_bytes(gzip.compress("\n".join(lines).encode()))
    parse, seen = pyarrow.json.read_json, []

    def counted(source, **options):
        seen.append(source.read())
        return parse(pa.BufferReader(seen[-1]), **options)

    monkeypatch.setattr(pyarrow.json, "read_json", counted)
    ingest(packed, tmp_path / "out", num_shards=3)
    assert rows_of(packed)[1] == list(map(json.loads, lines))
    assert len(seen) - 1 == len(set(seen)) > 5, "the first is looked at for texts that the reader would take for times"


def test_a_text_that_was_a_time_and_then_a_number_is_refused(files):
    packed, _ = files
    lines = ['{"day": "2024-01-01"}'] * 300 + ['{"day": 7}']
    packed.write_bytes(gzip.compress("\n".join(lines).encode()))
    with pytest.raises(DataError, match="day") as caught:
        rows_of(packed)
    assert caught.value.path == str(packed)


def test_what_was_kept_of_a_file_that_there_is_no_room_for_is_given_up(files, monkeypatch):
    packed, plain = files
    monkeypatch.setattr(jsonl, "KEPT_IN_MEMORY", 5000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=0))
    assert rows_of(packed) == rows_of(plain)
    assert not jsonl.FORMAT.open(str(packed))._spool._batches
