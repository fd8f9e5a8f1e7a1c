"""Damage is found, located and counted: flipped bits, cuts, spliced and missing records."""

from __future__ import annotations

import itertools
import os
import struct

import pyarrow as pa
import pytest

from engine import DataError, Dataset, OnDamage, read_split, write_batches
from engine.formats.damage import DamageLog
from engine.formats.options import ReadOptions
from engine.formats.tfrecord import stream
from tests.support.examples import encode_example, encode_feature

SCHEMA = pa.schema([pa.field("i", pa.int64(), nullable=False), pa.field("s", pa.binary(), nullable=False)])


def rows(count):
    return pa.record_batch([list(range(count)), [b"text-%d" % i for i in range(count)]], schema=SCHEMA)


def read(path, **options):
    return [row for batch in Dataset.open(str(path), SCHEMA).read_batches(**options) for row in batch.to_pylist()]


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "data.tfrecord"
    write_batches([rows(6)], SCHEMA, str(path), "tfrecord")
    return path.read_bytes()


def offsets(data):
    """Start of every record, and the end."""
    found = [0]
    while found[-1] < len(data):
        found.append(found[-1] + 16 + struct.unpack("<Q", data[found[-1] : found[-1] + 8])[0])
    return found


def test_every_flipped_bit_is_detected_at_its_record(whole, tmp_path):
    path = tmp_path / "flipped.tfrecord"
    starts = offsets(whole)
    for bit in range(len(whole) * 8):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with pytest.raises(DataError) as caught:
            read(path)
        record = max(i for i, start in enumerate(starts) if start <= bit // 8)
        assert (caught.value.path, caught.value.record, caught.value.offset_bytes) == (
            str(path),
            record,
            starts[record],
        )


def test_truncation_at_every_byte_names_record_and_offset(whole, tmp_path):
    path = tmp_path / "cut.tfrecord"
    starts = offsets(whole)
    for size in range(1, len(whole)):
        path.write_bytes(whole[:size])
        record = max(i for i, start in enumerate(starts) if start <= size)
        if starts[record] == size:  # between two records: nothing in the file tells; the manifest does, below
            assert len(read(path)) == record
            continue
        with pytest.raises(DataError) as caught:
            read(path)
        assert (caught.value.record, caught.value.offset_bytes) == (record, starts[record])


@pytest.mark.parametrize("format", ["tfrecord", "parquet"])
def test_cut_between_records_is_found_through_the_manifest(format, tmp_path):
    source = tmp_path / "source.parquet"
    write_batches([rows(100)], SCHEMA, str(source), "parquet")
    Dataset.open(source).write(tmp_path / "out", format=format, num_shards=1)
    shard = next((tmp_path / "out").glob("data-*"))
    opened = Dataset.open(tmp_path / "out")
    data = shard.read_bytes()
    if format == "tfrecord":
        shard.write_bytes(data[: offsets(data)[60]])
    else:
        write_batches([rows(60)], SCHEMA, str(shard), "parquet")
    with pytest.raises(DataError, match=r"its manifest says|60 records"):
        list(opened.read_batches())
    with pytest.raises(DataError, match="its manifest says"):
        Dataset.open(tmp_path / "out")


def test_gzip_truncation_at_every_byte_raises(tmp_path):
    path = tmp_path / "data.tfrecord.gz"
    write_batches([rows(6)], SCHEMA, str(path), "tfrecord", "gzip")
    data = path.read_bytes()
    assert len(read(path)) == 6
    for size in range(1, len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(DataError):
            read(path)


def test_gzip_flipped_bits_never_give_other_records(tmp_path):
    path = tmp_path / "data.tfrecord.gz"
    write_batches([rows(6)], SCHEMA, str(path), "tfrecord", "gzip")
    data, expected = path.read_bytes(), read(path)
    silent = 0
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert read(path) == expected  # header fields that mean nothing: time, system, flags' reserved bits
            silent += 1
        except DataError:
            pass
    assert silent < 10 * 8


def test_skip_leaves_out_damaged_records_and_reports_them(whole, tmp_path):
    path = tmp_path / "flipped.tfrecord"
    starts = offsets(whole)
    data = bytearray(whole)
    data[starts[2] + 14] ^= 1  # payload
    data[starts[4]] ^= 1  # length
    path.write_bytes(data)
    log = DamageLog(ReadOptions(on_damage=OnDamage.SKIP))
    kept = read(path, damage=log, on_damage=OnDamage.SKIP)
    assert [row["i"] for row in kept] == [0, 1, 3, 5]
    assert [(fault.record, fault.offset_bytes) for fault in log.faults] == [(2, starts[2]), (4, starts[4])]


def test_skip_budget_spent_raises(whole, tmp_path):
    path = tmp_path / "flipped.tfrecord"
    data = bytearray(whole)
    for start in offsets(whole)[:3]:
        data[start + 14] ^= 1
    path.write_bytes(data)
    assert len(read(path, on_damage="skip", skip_budget=3)) == 3
    with pytest.raises(DataError, match="skip_budget=2"):
        read(path, on_damage="skip", skip_budget=2)


def test_skip_of_a_record_that_does_not_fit_the_schema_keeps_the_rest_of_its_block(tmp_path):
    good = [
        encode_example([("i", encode_feature(3, [i], True)), ("s", encode_feature(1, [b"s%d" % i], True))])
        for i in range(200)
    ]
    good[70] = encode_example([("i", encode_feature(3, [70], True))])  # no s
    good[130] = b"\xff not an example"
    path = tmp_path / "x.tfrecord"
    path.write_bytes(b"".join(framed(payload) for payload in good))
    kept = read(path, on_damage="skip")
    assert [row["i"] for row in kept] == [i for i in range(200) if i not in (70, 130)]
    assert all(row["s"] == b"s%d" % row["i"] for row in kept)


def framed(payload):
    from engine import _native

    header = struct.pack("<Q", len(payload))
    return (
        header
        + struct.pack("<I", _native.masked_crc32c(header))
        + payload
        + struct.pack("<I", _native.masked_crc32c(payload))
    )


def test_a_feature_whose_name_is_no_text_is_refused_or_left_out(tmp_path):
    one = encode_example([("i", encode_feature(3, [1], True)), ("s", encode_feature(1, [b"a"], True))])
    odd = encode_example([("z", encode_feature(3, [5], True)), ("i", encode_feature(3, [2], True))])
    odd = odd.replace(b"z", b"\xff")
    path = tmp_path / "x.tfrecord"
    path.write_bytes(framed(one) + framed(odd))
    with pytest.raises(DataError, match=r"the name of feature b'\\xff' is no text of UTF-8") as caught:
        Dataset.open(path).schema  # noqa: B018
    assert (caught.value.path, caught.value.record, caught.value.offset_bytes) == (str(path), 1, len(framed(one)))
    given = Dataset.open(path, pa.schema([("i", pa.int64())]))
    assert [row for batch in given.read_batches() for row in batch.to_pylist()] == [{"i": 1}, {"i": 2}]


def test_splits_at_any_size_give_every_record_once(tmp_path):
    path = tmp_path / "data.tfrecord"
    batch = pa.record_batch([list(range(300)), [os.urandom(i % 50) for i in range(300)]], schema=SCHEMA)
    write_batches([batch], SCHEMA, str(path), "tfrecord")
    size = path.stat().st_size
    for target in [1, 2, 3, 7, 11, 12, 13, 16, 31, 64, 100, 1000, size - 1, size, size + 1]:
        splits = Dataset.open(path, SCHEMA).splits(target)
        found = [
            value for split in splits for part in read_split(split, SCHEMA, 17) for value in part.column(0).to_pylist()
        ]
        assert sorted(set(found)) == list(range(300)), f"missing at {target}"
        assert len(found) == 300, f"repeated at {target}"
        assert found == list(range(300)), f"reordered at {target}"


def test_splits_with_a_manifest_are_exact_for_data_that_holds_tfrecords(tmp_path):
    inner = b"".join(framed(b"inner-%d" % i) for i in range(50))
    batch = pa.record_batch([list(range(500)), [inner] * 500], schema=SCHEMA)
    path = tmp_path / "data.tfrecord"
    write_batches([batch], SCHEMA, str(path), "tfrecord")
    dataset = Dataset.open(path, SCHEMA)
    assert dataset.manifest.num_records == 500
    for target in (1000, 100_000):
        found = [
            v
            for split in dataset.splits(target)
            for part in read_split(split, SCHEMA)
            for v in part.column(0).to_pylist()
        ]
        assert found == list(range(500))


def test_damage_right_at_a_split_boundary_is_never_lost(whole, tmp_path):
    path = tmp_path / "data.tfrecord"
    for start in offsets(whole)[1:-1]:
        data = bytearray(whole)
        data[start] ^= 1
        path.write_bytes(data)
        for target in (1, 20, 50, start):
            with pytest.raises(DataError):
                for split in Dataset.open(path, SCHEMA).splits(target):
                    list(read_split(split, SCHEMA))


def test_verify_reports_every_damage(whole, tmp_path):
    path = tmp_path / "data.tfrecord"
    starts = offsets(whole)
    data = bytearray(whole)
    for record in (1, 3):
        data[starts[record] + 14] ^= 1
    path.write_bytes(bytes(data[:-3]))
    report = Dataset.open(path, SCHEMA).verify()
    assert [(damage.record, damage.offset_bytes) for damage in report.damages] == [
        (1, starts[1]),
        (3, starts[3]),
        (5, starts[5]),
    ]
    assert report.num_records == 3
    assert not report.ok


def test_verify_finds_exchanged_whole_records(tmp_path):
    source = tmp_path / "source.parquet"
    write_batches([rows(100)], SCHEMA, str(source), "parquet")
    Dataset.open(source).write(tmp_path / "out", format="tfrecord", num_shards=1)
    shard = next((tmp_path / "out").glob("data-*"))
    data, starts = shard.read_bytes(), offsets(shard.read_bytes())
    pieces = [data[a:b] for a, b in itertools.pairwise(starts)]
    pieces[10], pieces[11] = pieces[11], pieces[10]
    assert Dataset.open(tmp_path / "out").verify().ok
    shard.write_bytes(b"".join(pieces))
    report = Dataset.open(tmp_path / "out").verify()
    assert len(report.damages) == 1
    assert "not the one in the manifest" in report.damages[0].message


def test_every_flipped_bit_of_a_small_parquet_file_with_manifest_is_detected(tmp_path):
    source = tmp_path / "source.parquet"
    write_batches([rows(3)], SCHEMA, str(source), "parquet")
    Dataset.open(source).write(tmp_path / "out", format="parquet", num_shards=1)
    shard = next((tmp_path / "out").glob("data-*"))
    data = shard.read_bytes()
    expected = Dataset.open(tmp_path / "out").manifest
    assert Dataset.open(expected, SCHEMA).verify().ok
    for bit in range(0, len(data) * 8, 13):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        shard.write_bytes(flipped)
        os.utime(shard, ns=(bit, bit))
        assert not Dataset.open(expected, SCHEMA).verify().ok, f"bit {bit}"


def test_gzip_is_told_from_a_record_that_begins_like_it(tmp_path):
    path = tmp_path / "x.tfrecord"
    payload = encode_example(
        [("s", encode_feature(1, [b"x" * (0x088B1F - 16)], True)), ("i", encode_feature(3, [1], True))]
    )
    payload += b"\x1a" + bytes([0])  # an unknown field, to reach the length
    wanted = 0x088B1F
    filler = wanted - len(payload)
    payload = payload if filler <= 2 else payload + b"\x22" + varint_of(filler)
    path.write_bytes(framed(payload))
    assert stream.file_compression(str(path)) is None


def varint_of(total):
    """A length and that many bytes, `total - 1` bytes in all with the tag before it."""
    from tests.support.examples import varint

    for length in range(total):
        if len(varint(length)) + length == total - 1:
            return varint(length) + bytes(length)
    return b""
