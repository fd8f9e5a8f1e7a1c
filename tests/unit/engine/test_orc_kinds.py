"""ORC as others write it: unions, and files with bloom filters; against pyarrow."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyarrow import orc

from engine import ConfigError, Dataset, ingest


def rows_of(path, **options):
    return [row for batch in Dataset.open(path).read_batches(**options) for row in batch.to_pylist()]


@pytest.mark.parametrize("mode", ["dense", "sparse"])
def test_unions_are_read_and_refused_where_no_format_holds_them(tmp_path, mode):
    kinds, path = pa.array([0, 1, 0], pa.int8()), str(tmp_path / "a.orc")
    if mode == "dense":
        places = pa.array([0, 0, 1], pa.int32())
        union = pa.UnionArray.from_dense(kinds, places, [pa.array([1, 2]), pa.array(["x"])])
    else:
        union = pa.UnionArray.from_sparse(kinds, [pa.array([1, 0, 2]), pa.array(["", "x", ""])])
    orc.write_table(pa.table({"u": union, "n": [1, 2, 3]}), path)
    assert rows_of(path) == orc.read_table(path).to_pylist() == [
        {"u": value, "n": n} for value, n in ((1, 1), ("x", 2), (2, 3))
    ]  # fmt: skip
    assert rows_of(path, columns=["n"]) == [{"n": 1}, {"n": 2}, {"n": 3}]
    for format, said in (("parquet", "which Parquet cannot hold"), ("tfrecord", "TensorFlow takes integers")):
        with pytest.raises(ConfigError, match=f"column 'u' has type sparse_union.*{said}"):
            ingest(path, tmp_path / "out", format, num_shards=1)
        assert not (tmp_path / "out").exists()


def test_bloom_filters_change_nothing(tmp_path):
    table = pa.table({"n": range(5000), "t": [f"t{n % 7}" for n in range(5000)]})
    path = str(tmp_path / "a.orc")
    orc.write_table(table, path, bloom_filter_columns=[0, 1], bloom_filter_fpp=0.01, stripe_size=4096, batch_size=100)
    assert len(Dataset.open(path).manifest.files[0].blocks) > 1
    assert rows_of(path) == table.to_pylist()
