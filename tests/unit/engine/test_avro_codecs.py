"""Avro in every codec that writers use: polars packs with Snappy, Zstandard's own package with that."""

from __future__ import annotations

import io

import fastavro
import polars as pl
import pytest
import zstandard

from engine import DataError, Dataset
from engine.formats.foreign import avro
from tests.support.examples import varint

ROWS = [{"i": i, "s": "abc" * (i % 50), "n": None if i % 3 else i / 2} for i in range(3000)]
SCHEMA = {
    "type": "record",
    "name": "R",
    "fields": [
        {"name": "i", "type": "long"},
        {"name": "s", "type": "string"},
        {"name": "n", "type": ["null", "double"]},
    ],
}


def number(value):
    return varint(value << 1)


def packed(codec, pack):
    """A file of `codec`, of the plain one that fastavro writes, each block packed by `pack`."""
    plain = io.BytesIO()
    fastavro.writer(plain, SCHEMA, ROWS, codec="null", sync_interval=4000)
    size = plain.tell()
    plain.seek(0)
    reader = fastavro.block_reader(plain)
    out = bytearray(b"Obj\x01" + number(2))
    for text in ("avro.schema", reader.metadata["avro.schema"], "avro.codec", codec):
        out += number(len(text)) + text.encode()
    mark = plain.getvalue()[size - 16 :]
    out += number(0) + mark
    blocks = 0
    for block in reader:
        data = pack(block.bytes_.getvalue())
        out += number(block.num_records) + number(len(data)) + data + mark
        blocks += 1
    assert blocks > 5
    return bytes(out)


def zstd_of_unknown_size(data):
    packer = zstandard.ZstdCompressor().compressobj()
    return packer.compress(data) + packer.flush()


def by_polars(path):
    pl.DataFrame(ROWS).write_avro(path, compression="snappy")


def by_zstandard(path):
    path.write_bytes(packed("zstandard", zstd_of_unknown_size))


def by_fastavro(codec):
    def write(path):
        with open(path, "wb") as file:
            fastavro.writer(file, SCHEMA, ROWS, codec=codec, sync_interval=4000)

    return write


WRITERS = {"snappy": by_polars, "zstandard": by_zstandard, **{c: by_fastavro(c) for c in ("null", "bzip2", "xz")}}


@pytest.mark.parametrize("codec", WRITERS)
def test_every_codec_is_read_without_further_packages(tmp_path, monkeypatch, codec):
    monkeypatch.setattr(avro, "BLOCK_BYTES", 1000)
    WRITERS[codec](tmp_path / "a.avro")
    ds = Dataset.open(tmp_path / "a.avro")
    assert [row for batch in ds.read_batches() for row in batch.to_pylist()] == ROWS
    assert ds.num_records == len(ROWS)
    if codec == "zstandard":
        assert len(ds.manifest.files[0].blocks) > 5


def test_a_flipped_bit_under_snappy_is_found(tmp_path):
    """Its blocks have checksums, which fastavro leaves out."""
    pl.DataFrame({"s": ["of one kind"]}).write_avro(tmp_path / "a.avro", compression="snappy")
    whole = bytearray((tmp_path / "a.avro").read_bytes())
    whole[whole.rindex(b"kind")] ^= 1  # a literal: it unpacks to other text
    (tmp_path / "a.avro").write_bytes(whole)
    with pytest.raises(DataError, match="cannot be read: the checksum of a block does not hold") as caught:
        list(Dataset.open(tmp_path / "a.avro").read_batches())
    assert caught.value.path == str(tmp_path / "a.avro")


def test_a_codec_that_is_not_read_is_named(tmp_path):
    (tmp_path / "a.avro").write_bytes(packed("lz4", lambda data: data))
    with pytest.raises(DataError, match="is packed by the Avro codec 'lz4'; those that are read are null, deflate"):
        Dataset.open(tmp_path / "a.avro").schema  # noqa: B018


def test_a_block_that_claims_to_hold_more_than_it_can_is_damage(tmp_path):
    (tmp_path / "a.avro").write_bytes(packed("snappy", lambda data: b"\xff\xff\xff\xff\x0f" + data[:40]))
    with pytest.raises(DataError, match=r"a block of .* bytes says that it holds 4294967295"):
        list(Dataset.open(tmp_path / "a.avro").read_batches())
