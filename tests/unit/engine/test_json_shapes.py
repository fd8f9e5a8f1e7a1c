"""JSON lines by how they are built: what is no object, keys that are values, objects of many lines."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pytest

from engine import DataError, Dataset
from engine.formats.foreign import json_pieces


def read(path):
    return [row for batch in Dataset.open(path).read_batches() for row in batch.to_pylist()]


@pytest.mark.parametrize("line", ["null", "true", "-1.5", '"x"', ", ", '{"a":2}}'])
@pytest.mark.parametrize(
    ("before", "packed"), [("", False), ('{"a":1}\n\n', False), ('{"a":1}\n\n', True)], ids=["first", "second", "gzip"]
)
def test_a_line_that_is_no_object_is_named(tmp_path, before, line, packed):
    """Of a first line `null` pyarrow ends the process, and further down it is a record of it."""
    data = f'{before}{line}\n{{"a":3}}\n'.encode()
    path = tmp_path / "x.jsonl"
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(DataError, match=r"here is '.+' and not an object") as caught:
        read(path)
    assert caught.value.record == (1 if before else 0)


@pytest.mark.parametrize("shape", ['{"k%d":1}', '{"a":{"k%d":1}}'])
def test_keys_that_are_values_are_refused(tmp_path, shape):
    """Half a megabyte that takes twelve gigabytes as columns."""
    (tmp_path / "x.jsonl").write_text("\n".join(shape % number for number in range(40_000)))
    with pytest.raises(DataError, match=r"x\.jsonl, record 0: objects have \d\d,\d+ different keys or more.*\"value\""):
        read(tmp_path / "x.jsonl")


def test_keys_that_are_values_within_one_record(tmp_path):
    inside = ",".join(f'{{"k{number}":1}}' for number in range(40_000))
    (tmp_path / "x.jsonl").write_text(f'{{"a":1}}\n{{"a":[{inside}]}}\n')
    with pytest.raises(DataError, match="different keys"):
        read(tmp_path / "x.jsonl")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_objects_of_different_keys_are_read_by_a_few_lines(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(json_pieces, "MOST_CELLS", 2000)
    rows = [{f"k{number % 97}": number, "t": f"2024-01-{number % 28 + 1:02}"} for number in range(500)]
    text = "\n\n".join(map(json.dumps, rows)).encode()
    path = tmp_path / "x.jsonl"
    path.write_bytes(gzip.compress(text) if packed else text)
    names = {name for row in rows for name in row}
    found = list(Dataset.open(path).read_batches())
    assert pa.Table.from_batches(found).to_pylist() == [
        {name: row.get(name) for name in found[0].schema.names} for row in rows
    ]
    assert set(found[0].schema.names) == names and len(found) > 5
    path.write_bytes(text + b'\n{"t":1}\n')
    with pytest.raises(DataError, match=r"record 500: .*changed from string to number"):
        read(path)


def test_objects_of_many_lines_are_not_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(json_pieces, "MOST_CELLS", 100)
    rows = [{f"k{number % 7}": {"x": [number]}} for number in range(40)]
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps(row, indent=1) for row in rows))
    assert [{key: value for key, value in row.items() if value} for row in read(tmp_path / "x.jsonl")] == rows
