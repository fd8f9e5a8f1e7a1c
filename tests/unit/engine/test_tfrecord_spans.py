"""Several threads on one TFRecord file read what one thread reads: records, faults and their places."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pyarrow as pa
import pytest

from engine import DataError, Dataset, _native, read_split, write_batches
from engine.formats.damage import DamageLog
from engine.formats.options import ReadOptions
from engine.formats.tfrecord import codec
from engine.formats.tfrecord import reader as tfrecord
from engine.formats.tfrecord.byte_spans import gathered, span_size

SCHEMA = pa.schema([pa.field("i", pa.int64(), nullable=False), pa.field("s", pa.binary(), nullable=False)])
ROWS = 6000
SPAN = 16_384


@pytest.fixture(autouse=True)
def short_spans(monkeypatch):
    monkeypatch.setattr(tfrecord, "SPAN_BYTES", SPAN)


def framed(payload):
    length = struct.pack("<Q", len(payload))
    return length + crc(length) + payload + crc(payload)


def crc(data):
    return struct.pack("<I", _native.masked_crc32c(data))


def write(path, texts):
    rows = pa.record_batch([list(range(len(texts))), texts], schema=SCHEMA)
    write_batches([rows], SCHEMA, str(path), "tfrecord")
    return str(path)


@pytest.fixture
def path(tmp_path):
    rng = random.Random(5)
    return write(tmp_path / "x.tfrecord", [rng.randbytes(rng.randrange(200)) for _ in range(ROWS)])


def read(path, threads, **options):
    """Returns (rows, faults as (record, byte, text)) of a whole read; a raised fault stands last."""
    log = DamageLog(ReadOptions(on_damage=options.get("on_damage", "raise"), skip_budget=10_000), quiet=True)
    batches = []
    try:
        for batch in Dataset.open(path, SCHEMA).read_batches(500, threads=threads, damage=log, **options):
            batches.append(batch)
        faults = log.faults
    except DataError as error:
        faults = [*log.faults, error]
    assert all(batch.num_rows <= 500 for batch in batches)
    return pa.Table.from_batches(batches, SCHEMA), [(f.record, f.offset_bytes, str(f)) for f in faults]


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_give_the_records_of_one_in_order(path, threads):
    one, many = read(path, 1), read(path, threads)
    assert one[0].num_rows == ROWS
    assert many[0].equals(one[0])


@pytest.mark.parametrize("options", [{"columns": ["s"]}, {"columns": []}, {"dictionary": True}])
def test_threads_keep_the_options_of_the_read(path, options):
    tables = [
        pa.Table.from_batches(list(Dataset.open(path, SCHEMA).read_batches(500, threads=threads, **options)))
        for threads in (1, 2)
    ]
    assert tables[0].num_rows == tables[1].num_rows == ROWS
    assert tables[0].to_pylist() == tables[1].to_pylist()


def test_threads_read_a_remote_file_too(path):
    import fsspec

    with fsspec.open("memory://spans/x.tfrecord", "wb") as file:
        file.write(Path(path).read_bytes())
    assert read("memory://spans/x.tfrecord", 2)[0].equals(read(path, 1)[0])


def test_a_span_that_cannot_be_read_is_not_whole_and_the_next_is(path, tmp_path):
    reader = _native.SpanReader(codec.native_schema(SCHEMA, SCHEMA.names, False), False)
    size = Path(path).stat().st_size
    with open(path, "rb") as file, open(tmp_path / "written", "wb") as unreadable:
        assert reader.read(unreadable.fileno(), 0, size, True, 500) == (False, 0, -1, [])
        whole, begin, end, batches = reader.read(file.fileno(), 0, size, True, 500)
    assert (whole, begin, end) == (True, 0, size)
    assert sum(codec.imported(batch, SCHEMA, SCHEMA).num_rows for batch in batches) == ROWS


def test_a_damaged_span_does_not_make_the_next_one_damaged(path, tmp_path):
    reader = _native.SpanReader(codec.native_schema(SCHEMA, SCHEMA.names, False), False)
    size = Path(path).stat().st_size
    data = bytearray(Path(path).read_bytes())
    data[14] ^= 1  # in the first payload
    (tmp_path / "damaged").write_bytes(data)
    with open(path, "rb") as file, open(tmp_path / "damaged", "rb") as damaged:
        assert not reader.read(damaged.fileno(), 0, size, True, 500)[0]
        assert reader.read(file.fileno(), 0, size, True, 500)[0]


def test_a_batch_keeps_its_values_while_the_memory_of_others_is_used_again(path):
    expected = read(path, 1)[0]
    rng = random.Random(9)
    for threads in (1, 2):
        held = []  # of this read and the one before; the rest gives its memory back at once
        for _ in range(3):
            row = 0
            for batch in Dataset.open(path, SCHEMA).read_batches(500, threads=threads):
                held.append((row, batch))
                row += batch.num_rows
                while len(held) > 9:
                    start, kept = held.pop(rng.randrange(len(held)))
                    assert pa.Table.from_batches([kept]).equals(expected.slice(start, kept.num_rows))
        for start, kept in held:
            assert pa.Table.from_batches([kept]).equals(expected.slice(start, kept.num_rows))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("on_damage", ["raise", "skip"])
def test_damage_is_that_of_one_thread(path, seed, on_damage):
    rng = random.Random(seed)
    data = bytearray(Path(path).read_bytes())
    for _ in range(rng.choice([1, 1, 3])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    if seed % 3 == 0:
        del data[rng.randrange(len(data)) :]
    Path(path).write_bytes(data)
    one, many = read(path, 1, on_damage=on_damage), read(path, 2, on_damage=on_damage)
    assert one[1]
    assert many[1] == one[1]
    assert many[0].slice(0, one[0].num_rows).equals(one[0].slice(0, many[0].num_rows))
    if on_damage == "skip":
        assert many[0].equals(one[0])


def test_features_that_hold_whole_record_files_are_not_taken_for_records(tmp_path):
    inner = b"".join(framed(b"\x0a\x00") for _ in range(3 * SPAN // 18))  # longer than two spans
    path = write(tmp_path / "x.tfrecord", [b"a" * 3000] * 5 + [inner] + [b"b" * 3000] * 40)
    one, many = read(path, 1), read(path, 2)
    assert many[0].num_rows == 46
    assert many[0].equals(one[0])


def test_record_longer_than_spans_is_read_once(tmp_path):
    path = write(tmp_path / "x.tfrecord", [b"\x01" * (5 * SPAN), b"x", b"\x02" * (4 * SPAN), b"y" * 2000] * 3)
    assert read(path, 2)[0].equals(read(path, 1)[0])


def test_splits_of_a_manifest_are_read_with_threads(path):
    manifest = Dataset.open(path, SCHEMA).manifest
    (entry,) = manifest.files
    splits = tfrecord.split_file(path, None, entry.size_bytes, entry.blocks, 1)
    rows = [
        row for split in splits for b in read_split(split, SCHEMA, 700, threads=2) for row in b.column(0).to_pylist()
    ]
    assert rows == list(range(ROWS))


def test_a_read_left_in_the_middle_can_be_followed_by_another(path):
    batches = Dataset.open(path, SCHEMA).read_batches(500, threads=2)
    next(batches)
    batches.close()
    assert read(path, 2)[0].num_rows == ROWS


def test_gathered_puts_small_batches_together_and_cuts_none():
    batches = [pa.record_batch([list(range(rows))], names=["i"]) for rows in (3, 4, 10, 2, 9, 1)]
    assert [each.num_rows for each in gathered(iter(batches), 10, 1 << 30)] == [7, 10, 2, 10]


def test_gathered_keeps_batches_below_the_bytes_allowed():
    batch = pa.record_batch([[b"x" * 1000] * 10], names=["s"])
    sizes = [each.num_rows for each in gathered(iter([batch] * 7), 1 << 40, 25_000)]
    assert sum(sizes) == 70
    assert max(sizes) == 20


@pytest.mark.parametrize(
    ("bytes_a_record", "batch_rows", "size"),
    [
        (0.0, 8192, 1000),  # nobody knows what a record takes
        (1.0, 2000, 1920),  # a batch, nearly
        (1.0, 400, 1152),  # three batches, nearly
        (1.0, 10, 1000),  # so many batches that where they are cut is no matter
        (1.0, 50_000, 1000),  # of no batch can a whole one be held for each thread
    ],
)
def test_spans_hold_nearly_whole_batches(bytes_a_record, batch_rows, size):
    assert span_size(bytes_a_record, batch_rows, 1000) == size


def test_each_span_of_a_large_file_is_one_batch(tmp_path):
    path = write(tmp_path / "x.tfrecord", [b"x" * 90] * ROWS)
    sizes = [batch.num_rows for batch in Dataset.open(path, SCHEMA).read_batches(500, threads=2)]
    assert sum(sizes) == ROWS
    assert min(sizes[:-1]) > 450
