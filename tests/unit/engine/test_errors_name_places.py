"""Errors name the file and record that are at fault, and what the user asked for: never a temporary name."""

from __future__ import annotations

import multiprocessing
import os
import resource

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import DataError, Dataset, ingest, write_batches
from tests.support.examples import encode_example, encode_feature
from tests.unit.engine.test_damage import framed

FLOAT, INT = encode_feature(2, [1.5], True), encode_feature(3, [1], True)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_feature_of_two_kinds_names_the_odd_record_of_the_odd_file(tmp_path, compression):
    import gzip

    pack = gzip.compress if compression else bytes
    name = "{}.tfrecord.gz" if compression else "{}.tfrecord"
    first = framed(encode_example([("x", INT)])) * 3
    (tmp_path / name.format("a")).write_bytes(pack(first))
    (tmp_path / name.format("b")).write_bytes(pack(first + framed(encode_example([("x", FLOAT)]))))
    with pytest.raises(DataError, match="feature 'x' holds float here and int64 in records before") as caught:
        Dataset.open(str(tmp_path)).schema  # noqa: B018
    assert caught.value.path == str(tmp_path / name.format("b"))
    assert (caught.value.record, caught.value.offset_bytes) == (3, len(first))


@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
def test_an_overflow_in_an_ingest_names_the_source_and_its_record(tmp_path, format):
    pq.write_table(pa.table({"x": [1.0, 2.0]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [1.0, 1e300]}), tmp_path / "b.parquet")
    schema = pa.schema([("x", pa.float32())])
    with pytest.raises(DataError, match=r"1e\+300 is beyond the range of float") as caught:
        ingest(
            [tmp_path / "a.parquet", tmp_path / "b.parquet"],
            tmp_path / "out",
            format,
            num_shards=1,
            feature_spec=schema,
        )
    assert caught.value.path == str(tmp_path / "b.parquet") and caught.value.record == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("split", [{}, {"split_by": ["k"], "fractions": {"train": 0.5, "eval": 0.5}}])
def test_a_value_that_a_tfrecord_cannot_hold_names_its_file_and_record(tmp_path, split):
    for name, odd in (("a", 1.0), ("b", 1e300)):
        values = [odd if row == 7 else 1.0 for row in range(12)]
        pq.write_table(pa.table({"x": values, "k": list(range(12))}), tmp_path / f"{name}.parquet", row_group_size=5)
    with pytest.raises(DataError, match="beyond the range") as caught:
        ingest([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "out", "tfrecord", num_shards=2, **split)
    assert (caught.value.path, caught.value.record) == (str(tmp_path / "b.parquet"), 7)
    assert ".tmp-" not in str(caught.value) and not (tmp_path / "out").exists()


def _fill_up(out, kind, answers):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
    batch = pa.record_batch([[os.urandom(1 << 12) for _ in range(100)]], names=["b"])
    try:
        if kind == "file":
            write_batches([batch], batch.schema, f"{out}/a.parquet")
        else:
            pa_schema = batch.schema
            from engine.dataset.sharding.source import Source

            ingest(Source(pa_schema, 100, ["source"], lambda rows: iter([batch])), f"{out}/d", kind, num_shards=2)
    except DataError as error:
        answers.put((error.path, str(error)))
    else:
        answers.put(("", "wrote"))


@pytest.mark.parametrize("kind", ["file", "parquet", "tfrecord"])
def test_a_full_disk_names_the_path_and_leaves_nothing(tmp_path, kind):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_fill_up, args=(str(tmp_path), kind, answers))
    process.start()
    path, message = answers.get(timeout=60)
    process.join()
    assert "cannot be written: File too large" in message and ".tmp-" not in message
    assert path.startswith(str(tmp_path)) and os.listdir(tmp_path) == []
