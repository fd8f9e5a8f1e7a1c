"""TFRecord files compressed with zlib: TensorFlow's and Beam's are read, ours are read by them, and none is taken for plain."""

from __future__ import annotations

import struct
import zlib

import pyarrow as pa
import pytest

from engine import DataError, Dataset, _native, write_batches
from engine.dataset.file_entry import FileEntry
from engine.formats.registry import detect
from engine.formats.tfrecord import stream
from tests.support.examples import encode_example, encode_feature

SCHEMA = pa.schema([pa.field("i", pa.int64(), nullable=False), pa.field("s", pa.binary(), nullable=False)])
COUNT = 3000


def rows(count):
    return pa.record_batch([list(range(count)), [b"text-%d" % i * 9 for i in range(count)]], schema=SCHEMA)


def payload_of(row):
    return encode_example([("i", encode_feature(3, [row["i"]], True)), ("s", encode_feature(1, [row["s"]], True))])


def framed(payload):
    header = struct.pack("<Q", len(payload))
    return b"".join(
        (
            header,
            struct.pack("<I", _native.masked_crc32c(header)),
            payload,
            struct.pack("<I", _native.masked_crc32c(payload)),
        )
    )


def read(path, **options):
    return [row for batch in Dataset.open(str(path), SCHEMA).read_batches(**options) for row in batch.to_pylist()]


def test_files_that_tensorflow_wrote_are_read_whatever_their_name(tmp_path):
    import tensorflow as tf

    expected = rows(COUNT).to_pylist()
    path = str(tmp_path / "data-of-no-known-name")
    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="ZLIB")) as writer:
        for row in expected:
            writer.write(payload_of(row))
    assert (detect(path), stream.file_compression(path)) == ("tfrecord", "zlib")
    assert read(path, batch_rows=700) == read(path, threads=2) == expected
    assert Dataset.open(path).verify().num_records == COUNT
    entry = FileEntry.scan(path)
    assert (entry.records, entry.compression, len(entry.blocks)) == (COUNT, "zlib", 1)


def test_written_shards_are_read_by_tensorflow_and_found_by_beam_by_their_name(tmp_path):
    import tensorflow as tf
    from apache_beam.io import tfrecordio

    source = tmp_path / "source.parquet"
    write_batches([rows(COUNT)], SCHEMA, str(source), "parquet")
    Dataset.open(source).write(tmp_path / "out", format="tfrecord", num_shards=2, compression="zlib")
    shards = sorted(str(path) for path in (tmp_path / "out").glob("data-*"))
    assert [shard.rsplit("/", 1)[1] for shard in shards] == [f"data-0000{i}-of-00002.tfrecord.deflate" for i in (0, 1)]
    expected = [payload_of(row) for row in rows(COUNT).to_pylist()]
    assert [p.numpy() for p in tf.data.TFRecordDataset(shards, compression_type="ZLIB")] == expected
    sources = [tfrecordio.ReadFromTFRecord(shard)._source for shard in shards]
    assert [p for each in sources for p in each.read(each.get_range_tracker(None, None))] == expected
    opened = Dataset.open(tmp_path / "out")
    assert len(opened.splits(1000)) == 2  # nothing can jump into a file
    assert [row["i"] for batch in opened.read_batches() for row in batch.to_pylist()] == list(range(COUNT))


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_any_level_of_compression_is_told_by_content(level, tmp_path):
    path = tmp_path / "x.tfrecord"
    expected = rows(50).to_pylist()
    path.write_bytes(zlib.compress(b"".join(framed(payload_of(row)) for row in expected), level))
    assert read(path) == expected


def test_no_records_are_an_empty_data_set(tmp_path):
    path = tmp_path / "x.bin"
    for data in (zlib.compress(b""), zlib.compress(b"", 0)):
        path.write_bytes(data)
        assert stream.file_compression(str(path)) == "zlib"
        assert read(path) == []
    assert write_batches([], SCHEMA, str(tmp_path / "y.tfrecord.deflate"), "tfrecord", "zlib") == 0
    assert Dataset.open(tmp_path / "y.tfrecord.deflate", SCHEMA).num_records == 0


@pytest.mark.parametrize("damaged", [False, True])
def test_plain_file_whose_first_bytes_are_those_of_zlib_is_never_taken_for_it(damaged, tmp_path):
    size = 0x0178  # its length begins 78 01, as a zlib stream does
    payload = payload_of({"i": 0, "s": b""})
    filler = b"\x1a" + bytes([size - len(payload) - 3 & 0x7F | 0x80, size - len(payload) - 3 >> 7])
    payload += filler + bytes(size - len(payload) - 3)
    assert len(payload) == size
    data = bytearray(framed(payload) + b"".join(framed(payload_of(row)) for row in rows(5).to_pylist()))
    data[9] ^= damaged  # the checksum of the length
    path = tmp_path / "x.tfrecord"
    path.write_bytes(data)
    assert data[:2] == b"\x78\x01"
    assert stream.file_compression(str(path)) is None
    if damaged:
        with pytest.raises(DataError, match="header's checksum") as caught:
            read(path)
        assert caught.value.record == 0
    kept = read(path, on_damage="skip")
    assert [row["i"] for row in kept] == ([] if damaged else [0]) + list(range(5))


def test_damaged_beginning_goes_by_the_name(tmp_path):
    data = bytearray(zlib.compress(b"".join(framed(payload_of(row)) for row in rows(50).to_pylist())))
    data[20] ^= 0xFF
    path = tmp_path / "x.tfrecord.deflate"
    path.write_bytes(data)
    assert (detect(str(path)), stream.file_compression(str(path))) == ("tfrecord", "zlib")
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.path == str(path)


def test_truncation_at_every_byte_raises(tmp_path):
    path = tmp_path / "x.tfrecord.deflate"
    write_batches([rows(6)], SCHEMA, str(path), "tfrecord", "zlib")
    data = path.read_bytes()
    assert len(read(path)) == 6
    for size in range(1, len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(DataError):
            read(path)


def test_flipped_bits_never_give_other_records(tmp_path):
    path = tmp_path / "x.tfrecord.deflate"
    write_batches([rows(6)], SCHEMA, str(path), "tfrecord", "zlib")
    data, expected = path.read_bytes(), read(path)
    silent = 0
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert read(path) == expected
            silent += 1
        except DataError:
            pass
    assert silent < 8  # a code length of a symbol that never comes


def test_bytes_after_the_stream_are_damage(tmp_path):
    path = tmp_path / "x.tfrecord.deflate"
    write_batches([rows(6)], SCHEMA, str(path), "tfrecord", "zlib")
    path.write_bytes(path.read_bytes() + b"\x00")
    with pytest.raises(DataError, match="more bytes after the compressed stream"):
        read(path)
    assert not Dataset.open(path, SCHEMA).verify().ok


def test_abandoned_read_ends_its_thread(tmp_path):
    import threading

    path = tmp_path / "x.tfrecord.deflate"
    write_batches([rows(60_000)], SCHEMA, str(path), "tfrecord", "zlib")
    before = threading.active_count()
    batches = Dataset.open(path, SCHEMA).read_batches(10)
    assert next(batches).num_rows == 10
    batches.close()
    assert threading.active_count() == before
