"""Parquet as people have it: files that differ, columns pyarrow cannot read, wide rows, and files that are none."""

from __future__ import annotations

import base64
import os
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import ConfigError, DataError, Dataset, ingest
from engine.formats.parquet import batch_rows
from engine.formats.parquet import writer as parquet_writer
from engine.formats.parquet.writer import Writer

DICTIONARY = pa.dictionary(pa.int8(), pa.string())


def table(ds, **options):
    return pa.Table.from_batches(list(ds.read_batches(**options)))


DRIFT = {
    "width": (pa.array([1], pa.int32()), pa.array([2**40])),
    "unsigned": (pa.array([1], pa.uint8()), pa.array([-2], pa.int16())),
    "fractions": (pa.array([2**53]), pa.array([2.5])),
    "text": (pa.array(["a"]), pa.array(["b"], pa.large_string())),
    "bytes": (pa.array(["a"]), pa.array([b"\xff"])),
    "no type": (pa.nulls(1), pa.array([1])),
    "no type last": (pa.array(["a"]), pa.nulls(1)),
    "dictionary width": (pa.array(["a"]).dictionary_encode(), pa.array(["b"]).cast(DICTIONARY)),
    "time": (pa.array([1], pa.timestamp("ms")), pa.array([2], pa.timestamp("us"))),
    "decimal": (pa.array([Decimal(1)], pa.decimal128(5, 0)), pa.array([Decimal("2.25")], pa.decimal128(20, 2))),
    "lists": (pa.array([[1]], pa.list_(pa.int32())), pa.array([[2**40, 2]])),
    "list of no nulls": (pa.array([[1]], pa.list_(pa.field("element", pa.int64(), nullable=False))), pa.array([[2]])),
    "sizes": (pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2)), pa.array([[3.0]])),
}


@pytest.mark.parametrize("kind", DRIFT)
def test_files_whose_types_differ_read_as_pyarrow_concatenates_them(tmp_path, kind, caplog):
    tables = [pa.table({"x": array, "k": [index]}) for index, array in enumerate(DRIFT[kind])]
    for index, each in enumerate(tables):
        pq.write_table(each, tmp_path / f"{index}.parquet")
    ds = Dataset.open(str(tmp_path))
    read = [pq.read_table(tmp_path / f"{index}.parquet") for index in range(2)]
    expected = pa.concat_tables(read, promote_options="permissive")
    found = table(ds)
    assert found["x"].to_pylist() == expected["x"].to_pylist()
    if kind != "no type last":
        assert found.schema.field("x").type.equals(expected.schema.field("x").type)
    assert table(ds, dictionary=True, columns=["k"]).num_rows == 2
    said = [record.message for record in caplog.records if "is read as" in record.message]
    assert len(said) == 1 and "0.parquet" in said[0] and "1.parquet" in said[0]


def test_text_in_one_file_and_a_dictionary_in_another(tmp_path):
    pq.write_table(pa.table({"x": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": pa.array(["b"]).dictionary_encode()}), tmp_path / "b.parquet")
    assert table(Dataset.open(str(tmp_path))).to_pydict() == {"x": ["a", "b"]}


def test_an_id_that_a_double_would_round_is_refused(tmp_path):
    pq.write_table(pa.table({"x": [1, 2**53 + 1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [2.5]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="column 'x' holds int64, which does not fit double") as caught:
        table(Dataset.open(str(tmp_path)))
    assert caught.value.record == 1 and caught.value.path.endswith("a.parquet")


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint16(), pa.int64(), pa.uint64()], ids=str)
@pytest.mark.parametrize("order", ["ab", "ba"])
def test_whole_numbers_beside_decimals_are_read_exactly(tmp_path, kind, order):
    """pyarrow's own common type has a digit less than its cast asks for."""
    largest = 2 ** (kind.bit_width - pa.types.is_signed_integer(kind)) - 1
    pq.write_table(pa.table({"x": pa.array([largest, 0], kind)}), tmp_path / f"{order[0]}.parquet")
    pq.write_table(pa.table({"x": [Decimal("1.5")]}), tmp_path / f"{order[1]}.parquet")
    found = table(Dataset.open(str(tmp_path)))["x"].to_pylist()
    assert sorted(found) == [0, Decimal("1.5"), largest]


@pytest.mark.parametrize("order", ["ab", "ba"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.array([Decimal("1.25")], pa.decimal128(5, 2)), pa.array([Decimal(2**120)], pa.decimal256(50, 3))),
        (pa.array([Decimal(10**37)], pa.decimal128(38, 0)), pa.array([Decimal("1.5")], pa.decimal128(38, 20))),
        (pa.array([2**63 - 1]), pa.array([Decimal("1.5")], pa.decimal256(5, 2))),
        (pa.array([2**63 - 1]), pa.array([Decimal("1.5")], pa.decimal128(38, 20))),
    ],
    ids=["128 and 256", "beyond 128", "whole and 256", "whole beyond 128"],
)
def test_decimals_of_any_width_are_read_exactly(tmp_path, first, second, order):
    pq.write_table(pa.table({"x": first}), tmp_path / f"{order[0]}.parquet")
    pq.write_table(pa.table({"x": second}), tmp_path / f"{order[1]}.parquet")
    found = table(Dataset.open(str(tmp_path)))["x"].to_pylist()
    assert sorted(found) == sorted([*first.to_pylist(), *second.to_pylist()])


def test_types_that_none_holds_name_both_files(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": ["b"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"column 'x' is string, in .*a.parquet it is int64") as caught:
        Dataset.open(str(tmp_path)).schema  # noqa: B018
    assert caught.value.path.endswith("b.parquet")


@pytest.fixture
def lacking(tmp_path):
    pq.write_table(pa.table({"x": [1], "y": [10]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [2]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"y": [30]}), tmp_path / "c.parquet")
    return str(tmp_path)


def test_a_column_that_files_lack_is_missing_there(lacking, caplog):
    ds = Dataset.open(lacking)
    assert table(ds).to_pylist() == [{"x": 1, "y": 10}, {"x": 2, "y": None}, {"x": None, "y": 30}]
    assert table(ds, columns=["y"])["y"].to_pylist() == [10, None, 30]
    assert "column 'y' is not in" in caplog.text


def test_a_default_fills_it_in_as_in_a_tfrecord(lacking):
    import tensorflow as tf

    spec = {"x": tf.io.FixedLenFeature([], tf.int64, -1), "y": tf.io.VarLenFeature(tf.int64)}
    assert table(Dataset.open(lacking, spec)).to_pylist() == [
        {"x": 1, "y": [10]},
        {"x": 2, "y": None},
        {"x": -1, "y": [30]},
    ]
    with pytest.raises(DataError, match="has no column 'y'; it has x") as caught:
        table(Dataset.open(lacking, {"y": tf.io.FixedLenFeature([], tf.int64)}))
    assert caught.value.path.endswith("b.parquet")


def test_a_column_that_no_file_has_is_a_wrong_name(lacking):
    with pytest.raises(ConfigError, match="column 'z' not found in any file; the first has x, y"):
        Dataset.open(lacking, pa.schema([("z", pa.int64())])).schema  # noqa: B018


def test_two_columns_of_one_name_are_refused_with_both(tmp_path):
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table([pa.array([1]), pa.array([2]), pa.array([3])], names=["x", "y", "x"]), path)
    for read in (lambda: table(Dataset.open(path)), lambda: table(Dataset.open(path, pa.schema([("x", pa.int64())])))):
        with pytest.raises(DataError, match="columns 0 and 2 are both named 'x'"):
            read()


MISREAD = {
    "missing embeddings": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
    "text view": pa.array(["a", None, "b"], pa.string_view()),
    "bytes view": pa.array([b"a", None, b"b"], pa.binary_view()),
    "list view": pa.array([[1], None, [2, 3]], pa.list_view(pa.int64())),
    "tensors": pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(12, dtype=np.float32).reshape(3, 2, 2)),
}


@pytest.mark.parametrize("kind", MISREAD)
def test_columns_that_pyarrow_cannot_read_or_cast_are_read_and_written(tmp_path, kind):
    path = str(tmp_path / "in" / "a.parquet")
    os.makedirs(tmp_path / "in")
    others = {"d": pa.array([1, 2, None], pa.duration("us")), "t": pa.array([1, None, 3], pa.timestamp("s", "UTC"))}
    pq.write_table(pa.table({"c": MISREAD[kind], **others}), path)
    expected = MISREAD[kind].to_pylist() if kind != "tensors" else np.arange(12).reshape(3, 4).tolist()
    ds = Dataset.open(path)
    found = table(ds)
    assert found["c"].to_pylist() == expected
    assert found["d"].to_pylist() == others["d"].to_pylist() and found["d"].type == pa.duration("us")
    assert found["t"].to_pylist() == others["t"].to_pylist()
    ingest(path, tmp_path / "out", num_shards=1)
    out = Dataset.open(str(tmp_path / "out"))
    assert table(out)["c"].to_pylist() == expected
    assert pq.read_table(out.paths[0])["c"].to_pylist() == expected, "pyarrow reads what was written"
    ingest(path, tmp_path / "records", "tfrecord", num_shards=1, split_by=["d"], fractions={"all": 1.0})
    assert table(Dataset.open(str(tmp_path / "records" / "all"))).num_rows == 3


class _Keys:
    """A key service that hides nothing: pyarrow needs one to encrypt."""

    def client(self, _):
        encryption = pytest.importorskip("pyarrow.parquet.encryption")

        class Client(encryption.KmsClient):
            def wrap_key(self, key, _):
                return base64.b64encode(key)

            def unwrap_key(self, key, _):
                return base64.b64decode(key)

        return Client()


@pytest.mark.parametrize("plaintext_footer", [False, True])
def test_an_encrypted_file_is_an_error_and_not_the_end_of_the_process(tmp_path, plaintext_footer):
    encryption = pytest.importorskip("pyarrow.parquet.encryption")
    factory = encryption.CryptoFactory(_Keys().client)
    how = encryption.EncryptionConfiguration("footer", column_keys={"k": ["s"]}, plaintext_footer=plaintext_footer)
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), how)
    path, data = str(tmp_path / "a.parquet"), pa.table({"x": [1, 2], "s": ["a", "b"]})
    with pq.ParquetWriter(path, data.schema, encryption_properties=properties) as writer:
        writer.write_table(data)
    for read in (lambda ds: ds.schema, lambda ds: ds.num_records, table):
        with pytest.raises(DataError, match="is an encrypted Parquet file"):
            read(Dataset.open(path))
    assert not Dataset.open(path).verify().ok


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<!DOCTYPE html><html>404", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n", "git lfs pull"),
        (b"Salted__\x00\x01\x02\x03\x04\x05\x06\x07\x08", "encrypted by openssl"),
        (b"", "it is empty"),
    ],
)
def test_what_is_no_parquet_shows_its_first_bytes(tmp_path, data, said):
    path = tmp_path / "a.parquet"
    path.write_bytes(data)
    with pytest.raises(DataError, match=said) as caught:
        Dataset.open(str(path)).schema  # noqa: B018
    assert repr(data[:12])[:-1] in str(caught.value) or not data


def test_row_groups_are_bounded_by_bytes(tmp_path):
    schema = pa.schema([pa.field("b", pa.binary(), nullable=False)])
    with open(tmp_path / "a.parquet", "wb") as file:
        writer = Writer(file, schema, None, row_group_bytes=1 << 20)
        for _ in range(10):
            writer.write(pa.record_batch([[os.urandom(1 << 16)] * 10], schema=schema))
        writer.close()
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    assert metadata.num_rows == 100
    assert max(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)) <= 16
    assert parquet_writer.ROW_GROUP_BYTES < 1 << 31


def test_batches_are_bounded_by_bytes(tmp_path, monkeypatch):
    data = pa.table({"b": [os.urandom(1 << 16) for _ in range(40)], "i": list(range(40))})
    pq.write_table(data, tmp_path / "a.parquet")
    monkeypatch.setattr(batch_rows, "MAX_BATCH_BYTES", 1 << 20)
    ds = Dataset.open(str(tmp_path))
    batches = list(ds.read_batches())
    assert (
        max(batch.num_rows for batch in batches) <= 16
        and pa.Table.from_batches(batches).to_pydict() == data.to_pydict()
    )
    assert [batch.num_rows for batch in ds.read_batches(columns=["i"])] == [40]


@pytest.mark.skipif(not os.environ.get("FULLPASS_LARGE"), reason="takes 12 GiB of memory: FULLPASS_LARGE=1 runs it")
def test_a_row_group_of_more_than_two_gib_of_bytes_is_fed(tmp_path):
    blob = bytes(1 << 20)
    with pq.ParquetWriter(
        tmp_path / "a.parquet",
        pa.schema([("i", pa.int64()), ("b", pa.binary())]),
        compression="zstd",
        use_dictionary=False,
    ) as writer:
        parts = [pa.table({"i": list(range(k, k + 220)), "b": [blob] * 220}) for k in range(0, 2200, 220)]
        writer.write_table(pa.concat_tables(parts), row_group_size=3000)
    feed = Dataset.open(str(tmp_path)).feed(global_batch_size=8, num_epochs=1, shuffle=False)
    assert sorted(int(i) for batch in feed for i in batch["int64"][:, 0]) == list(range(2200))


def test_joined_blocks_beyond_32_bit_offsets_keep_every_row():
    from engine.feed.blocks.dataset_reader import with_wide_offsets

    field = pa.field("x", pa.list_(pa.field("element", pa.string())))
    assert with_wide_offsets(field).type == pa.large_list(pa.field("element", pa.large_string()))
    data = pa.table({"x": pa.array([["a"], None])}).cast(pa.schema([with_wide_offsets(field)]))
    assert data["x"].to_pylist() == [["a"], None]


def test_verify_without_a_manifest_decodes_every_page_and_says_what_it_could_not_check(tmp_path):
    path = tmp_path / "a.parquet"
    data = pa.table({"i": list(range(1000)), "s": [f"text {i}" for i in range(1000)]})
    for checksums in (True, False):
        pq.write_table(data, path, write_page_checksum=checksums, compression="snappy", use_dictionary=False)
        report = Dataset.open(str(path)).verify()
        assert report.ok and bool(report.unchecked) is not checksums, report
        column = pq.read_metadata(path).row_group(0).column(1)
        whole = bytearray(path.read_bytes())
        whole[column.data_page_offset + column.total_compressed_size // 2] ^= 0x10
        path.write_bytes(whole)
        found = Dataset.open(str(path)).verify()
        if checksums:
            assert [damage.path for damage in found.damages] == [str(path)]
        else:
            assert "2 of 2 column chunks have no page checksums" in report.unchecked[0]


def test_verify_of_files_that_no_schema_holds_still_decodes_their_pages(tmp_path):
    pq.write_table(pa.table({"x": list(range(1000))}), tmp_path / "a.parquet", write_page_checksum=True)
    pq.write_table(pa.table({"x": ["b"]}), tmp_path / "b.parquet", write_page_checksum=True)
    whole = bytearray((tmp_path / "a.parquet").read_bytes())
    whole[200] ^= 1
    (tmp_path / "a.parquet").write_bytes(whole)
    assert [damage.path for damage in Dataset.open(str(tmp_path)).verify().damages] == [str(tmp_path / "a.parquet")]


@pytest.mark.parametrize("index", [["a", "b"], range(5, 7), "named"])
def test_the_index_of_pandas_is_what_pyarrow_says(tmp_path, index):
    pandas = pytest.importorskip("pandas")
    rows = pandas.Index(["a", "b"], name="key") if index == "named" else index
    frame = pandas.DataFrame({"x": [1, 2], "c": pandas.Categorical(["u", "v"])}, index=rows)
    frame.to_parquet(tmp_path / "a.parquet")
    expected = pq.read_table(tmp_path / "a.parquet")
    assert table(Dataset.open(str(tmp_path))).to_pydict() == expected.to_pydict()
    ingest(tmp_path, tmp_path.parent / "out", num_shards=1)
    assert table(Dataset.open(str(tmp_path.parent / "out"))).to_pydict() == expected.to_pydict()


def test_thousands_of_columns_are_named_in_part(tmp_path):
    pq.write_table(pa.table({f"column_{i}": [1] for i in range(3000)}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="and 2,980 more") as caught:
        list(Dataset.open(str(tmp_path)).read_batches(columns=["nope"]))
    assert len(str(caught.value)) < 500


def test_a_large_row_group_is_read_page_by_page(tmp_path):
    """A column of a row group was held whole, beside what it decodes to: a file of 550 MiB in one group cost as much memory."""
    path, rows = tmp_path / "a.parquet", 4096
    images = [bytes([i % 251]) * 20 + os.urandom(12 << 10) for i in range(rows)]
    pq.write_table(pa.table({"image": images, "i": range(rows)}), path, write_page_checksum=True)
    before, most, row = pa.total_allocated_bytes(), 0, 0
    for batch in Dataset.open(path).read_batches(64):
        most = max(most, pa.total_allocated_bytes() - before)
        assert batch["image"].to_pylist() == images[row : row + batch.num_rows]
        row += batch.num_rows
    assert row == rows and pq.read_metadata(path).num_row_groups == 1
    assert most < 0.75 * path.stat().st_size
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet.*row groups 0\.\.0 cannot be decoded"):
        list(Dataset.open(path).read_batches(64))


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.large_list(pa.float64()), pa.list_(pa.float64(), 1)])
def test_lists_of_one_value_are_read_as_the_value(tmp_path, kind):
    """TFX and Beam keep a feature of one value so."""
    pq.write_table(pa.table({"x": pa.array([[1.5], None, [-2.0]], kind)}), tmp_path / "rows.parquet")
    one = pa.schema([pa.field("x", pa.float32())])
    (batch,) = Dataset.open(str(tmp_path / "rows.parquet"), one).read_batches()
    assert batch.column(0).to_pylist() == [1.5, None, -2.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [([[1.0], [], [2.0, 3.0]], "a list of several values"), ([[1.0], [], [1e300]], r"1e\+300 is beyond the range")],
)
def test_lists_that_are_not_of_one_value_that_fits_are_refused_with_their_row(tmp_path, rows, message):
    pq.write_table(pa.table({"x": pa.array(rows, pa.list_(pa.float64()))}), tmp_path / "rows.parquet")
    one = pa.schema([pa.field("x", pa.float32())])
    with pytest.raises(DataError, match=message) as caught:
        list(Dataset.open(str(tmp_path / "rows.parquet"), one).read_batches())
    assert caught.value.record == 2
