"""Bytes changed at random, in every format that others write: read, or refused with the file; never another error, or a crash."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile

import fastavro
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.feather as feather
import pyarrow.orc as orc
import pytest

from engine import DataError, Dataset, ingest
from engine.formats.damage import DamageLog
from engine.formats.options import ReadOptions

TABLE = pa.table({"x": list(range(300)), "s": [f"t{i % 7}" for i in range(300)], "f": [i / 3 for i in range(300)]})
SCHEMA = {"type": "record", "name": "r", "fields": [{"name": "x", "type": "long"}, {"name": "s", "type": "string"}]}


def avro(path, codec):
    with open(path, "wb") as file:
        fastavro.writer(file, SCHEMA, TABLE.select(["x", "s"]).to_pylist(), codec=codec)


def csv_text():
    text = io.BytesIO()
    pacsv.write_csv(TABLE, text)
    return text.getvalue()


def zipped(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", csv_text())


def json_lines():
    return "".join(json.dumps(row) + "\n" for row in TABLE.to_pylist()).encode()


WRITERS = {
    "plain.arrow": lambda path: feather.write_feather(TABLE, str(path), compression="uncompressed"),
    "lz4.arrow": lambda path: feather.write_feather(TABLE, str(path), compression="lz4"),
    "a.orc": lambda path: orc.write_table(TABLE, str(path), compression="zlib"),
    "null.avro": lambda path: avro(path, "null"),
    "deflate.avro": lambda path: avro(path, "deflate"),
    "xz.avro": lambda path: avro(path, "xz"),
    "a.jsonl": lambda path: path.write_bytes(json_lines()),
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(json_lines())),
    "a.csv.gz": lambda path: path.write_bytes(gzip.compress(csv_text())),
    "a.csv.zip": zipped,
}


@pytest.mark.parametrize("name", WRITERS)
def test_changed_bytes_are_read_or_refused_with_the_file(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()
    assert ingest(path, tmp_path / "out", num_shards=1).num_records == 300
    random_bytes = random.Random(7)
    refused: list[DataError] = []
    for _ in range(40):
        data = bytearray(whole)
        if random_bytes.random() < 0.2:
            del data[random_bytes.randrange(len(data)) :]
        for _ in range(random_bytes.choice([1, 1, 3, 20])):
            if data:
                data[random_bytes.randrange(len(data))] = random_bytes.randrange(256)
        path.write_bytes(data)
        try:
            ingest(path, tmp_path / "out", num_shards=1)
        except DataError as error:
            refused.append(error)
    assert refused
    assert {error.path for error in refused} == {str(path)}
    assert not [error for error in refused if ".tmp-" in str(error)]


def test_a_block_behind_a_damaged_one_is_reported_too(tmp_path):
    """Its first record is counted from the blocks before it, which cannot be where one of those is damaged."""
    path, schema = tmp_path / "a.arrow", pa.schema([("s", pa.string())])
    with pa.ipc.new_file(path, schema) as writer:
        for first in (0, 10, 20):
            writer.write_batch(pa.record_batch([[f"text{i}" for i in range(first, first + 10)]], schema=schema))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"text1text2", b"\xff\xffxt1text2").replace(b"text12", b"\xff\xffxt12"))
    damage = DamageLog(ReadOptions(on_damage="skip", skip_budget=100), quiet=True)
    read = Dataset.open(path, schema).read_batches(damage=damage, on_damage="skip", skip_budget=100)
    assert [text for batch in read for text in batch["s"].to_pylist()] == [f"text{i}" for i in range(20, 30)]
    first, second = damage.faults
    assert (first.path, first.record) == (second.path, 0) == (str(path), 0) and second.record is None
    assert "block 0" in first.message and "block 1 cannot be read" in second.message
