"""How the TFRecord reader goes through files: batch sizes, threads, columns, gzip, blocks."""

from __future__ import annotations

import pyarrow as pa
import pytest

from engine import ConfigError, DataError, Dataset, read_split, write_batches
from engine.formats.tfrecord.stream import Window
from tests.unit.engine.test_tfrecord_spans import framed

SCHEMA = pa.schema([pa.field("i", pa.int64(), nullable=False), pa.field("s", pa.binary()), pa.field("x", pa.float32())])
ROWS = 40_000


@pytest.fixture(scope="module", params=[None, "gzip", "zlib"])
def path(request, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("data") / f"x.tfrecord{'.gz' if request.param == 'gzip' else ''}")
    batch = pa.record_batch(
        [
            list(range(ROWS)),
            [None if i % 7 == 0 else b"%d" % i * 20 for i in range(ROWS)],
            [i / 2 for i in range(ROWS)],
        ],
        schema=SCHEMA,
    )
    write_batches([batch], SCHEMA, path, "tfrecord", request.param)
    return path


@pytest.mark.parametrize("batch_rows", [1000, 8192, 1 << 30, 1 << 40])
@pytest.mark.parametrize("threads", [1, 3])
def test_any_batch_rows_and_threads_give_the_same_records(path, batch_rows, threads):
    batches = list(Dataset.open(path, SCHEMA).read_batches(batch_rows, threads=threads))
    assert [v for batch in batches for v in batch.column(0).to_pylist()] == list(range(ROWS))
    assert all(batch.num_rows == min(batch_rows, ROWS) for batch in batches[:-1])


def test_block_reads_bytes_of_its_block_only(path, monkeypatch):
    manifest = Dataset.open(path, SCHEMA).manifest
    asked = []
    fill = Window.fill
    monkeypatch.setattr(Window, "fill", lambda self, size: (asked.append(size), fill(self, size))[1])
    rows = [read_split(manifest.block_split(i), SCHEMA, 1 << 30) for i in range(len(manifest.block_records()))]
    assert sum(batch.num_rows for block in rows for batch in block) == ROWS
    assert max(asked) < 256 << 20


def test_columns_come_in_the_order_asked_for(path):
    batch = next(Dataset.open(path, SCHEMA).read_batches(100, columns=["x", "i"]))
    assert batch.schema.names == ["x", "i"]
    assert batch.column(1).to_pylist() == list(range(100))


def test_unknown_column_raises_config_error(path):
    with pytest.raises(ConfigError, match="'nope'"):
        next(Dataset.open(path, SCHEMA).read_batches(columns=["nope"]))


def test_inferred_schema_marks_what_is_always_present(path):
    schema = Dataset.open(path).schema
    assert schema.field("i") == pa.field("i", pa.int64(), nullable=False)
    assert schema.field("s") == pa.field("s", pa.binary())
    assert schema.field("x") == pa.field("x", pa.float32(), nullable=False)


def test_feature_that_the_sample_did_not_show_is_an_error_not_a_loss(tmp_path):
    schema = pa.schema([pa.field("i", pa.int64())])
    wider = pa.schema([pa.field("i", pa.int64()), pa.field("late", pa.int64())])
    path = str(tmp_path / "x.tfrecord")
    early = pa.record_batch([list(range(100)), [None] * 100], schema=wider)
    write_batches([early, pa.record_batch([[1], [2]], schema=wider)], wider, path, "tfrecord")
    sampled = schema.with_metadata({"fullpass.inferred": "sample"})
    with pytest.raises(DataError, match="'late' is not in the schema") as caught:
        list(Dataset.open(path, sampled).read_batches())
    assert caught.value.record == 100
    assert sum(batch.num_rows for batch in Dataset.open(path, schema).read_batches()) == 101


def test_empty_file_is_an_empty_data_set(tmp_path):
    path = str(tmp_path / "x.tfrecord")
    assert write_batches([], SCHEMA, path, "tfrecord") == 0
    dataset = Dataset.open(path, SCHEMA)
    assert dataset.num_records == 0
    assert list(dataset.read_batches()) == []


TENSOR = b"\x08\x03\x12\x04\x12\x02\x08\x01\x22\x04\x01\x00\x00\x00"  # tf.io.serialize_tensor(tf.constant([1]))


@pytest.mark.parametrize("before", [0, 2])
def test_serialized_tensors_are_no_records_without_a_feature(tmp_path, before):
    (tmp_path / "x.tfrecord").write_bytes(b"".join(map(framed, [b""] * before + [TENSOR] * 2)))
    with pytest.raises(
        DataError, match=r"a message with no feature of a tf\.Example, such as tf\.io\.serialize_tensor"
    ) as caught:
        Dataset.open(tmp_path / "x.tfrecord").schema  # noqa: B018
    assert (caught.value.record, caught.value.offset_bytes) == (before, 16 * before)
    (tmp_path / "x.tfrecord").write_bytes(framed(b"") + framed(b"\x0a\x00"))
    assert [row for batch in Dataset.open(tmp_path / "x.tfrecord").read_batches() for row in batch.to_pylist()] == [
        {},
        {},
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<!DOCTYPE html>\n<html>404", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n", "git lfs pull"),
        (b"Salted__" + bytes(range(40)), "encrypted by openssl"),
    ],
)
def test_what_is_no_tfrecord_shows_its_first_bytes(tmp_path, data, said):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(data)
    dataset = Dataset.open(str(path))
    with pytest.raises(DataError, match=said) as caught:
        list(dataset.read_batches())
    assert repr(data[:12])[:-1] in str(caught.value) and caught.value.offset_bytes == 0
