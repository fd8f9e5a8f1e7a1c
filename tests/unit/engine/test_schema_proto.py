"""A Schema of TensorFlow Metadata is taken wherever a feature spec is, and says what TFT says that it does."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tensorflow_transform.tf_metadata import schema_utils

from engine import ConfigError, DataError, Dataset, ingest

SPEC = {
    "i": tf.io.FixedLenFeature([], tf.int64),
    "e": tf.io.FixedLenFeature([2, 2], tf.float32),
    "s": tf.io.VarLenFeature(tf.string),
    "pairs": tf.io.SparseFeature("at", "value", tf.float32, 10),
    "r": tf.io.RaggedFeature(tf.int64, partitions=[tf.io.RaggedFeature.RowLengths("lengths")]),
}


@pytest.fixture
def path(tmp_path):
    proto = schema_utils.schema_from_feature_spec(SPEC)
    (tmp_path / "schema.pbtxt").write_text(str(proto))
    (tmp_path / "schema.pb").write_bytes(proto.SerializeToString())
    feature = tf.train.Feature
    example = tf.train.Example(
        features=tf.train.Features(
            feature={
                "i": feature(int64_list=tf.train.Int64List(value=[7])),
                "e": feature(float_list=tf.train.FloatList(value=[1, 2, 3, 4])),
                "s": feature(bytes_list=tf.train.BytesList(value=[b"a", b"b"])),
                "at": feature(int64_list=tf.train.Int64List(value=[3])),
                "value": feature(float_list=tf.train.FloatList(value=[0.5])),
                "r": feature(int64_list=tf.train.Int64List(value=[1, 2, 3])),
                "lengths": feature(int64_list=tf.train.Int64List(value=[1, 2])),
            }
        )
    )
    with tf.io.TFRecordWriter(str(tmp_path / "data.tfrecord")) as writer:
        writer.write(example.SerializeToString())
    return tmp_path


@pytest.mark.parametrize("form", ["text", "binary", "message"])
def test_it_says_what_tft_says(path, form):
    proto = schema_utils.schema_from_feature_spec(SPEC)
    given = {"text": path / "schema.pbtxt", "binary": str(path / "schema.pb"), "message": proto}[form]
    ds = Dataset.open(str(path / "data.tfrecord"), given)
    assert ds.feature_spec() == schema_utils.schema_as_feature_spec(proto).feature_spec
    assert [row["e"] for batch in ds.read_batches() for row in batch.to_pylist()] == [[1.0, 2.0, 3.0, 4.0]]
    ingest(path / "data.tfrecord", path / "out", num_shards=1, feature_spec=given)
    assert Dataset.open(str(path / "out")).feature_spec() == ds.feature_spec()


def test_csv_takes_it_too(path):
    (path / "a.csv").write_text("i,x\n1,2\n")
    (path / "csv.pbtxt").write_text(
        str(schema_utils.schema_from_feature_spec({"x": tf.io.FixedLenFeature([], tf.float32)}))
    )
    ingest(path / "a.csv", path / "csv", num_shards=1, feature_spec=path / "csv.pbtxt")
    assert pq.read_table(Dataset.open(str(path / "csv")).paths[0]).schema.field("x").type == pa.float32()


def test_the_command_line_takes_it(path):
    from cluster.cli.main import main

    out = str(path / "cli")
    words = ["ingest", str(path / "data.tfrecord"), "--out", out, "--num-shards", "1"]
    assert main([*words, "--feature-spec", str(path / "schema.pbtxt")]) == 0
    proto = schema_utils.schema_from_feature_spec(SPEC)
    assert Dataset.open(out).feature_spec() == schema_utils.schema_as_feature_spec(proto).feature_spec


@pytest.mark.parametrize("text", ["feature { name: ", "\xff", "", '{"json": 1}'])
def test_what_is_no_schema_is_named(path, text):
    (path / "bad.pbtxt").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"holds (no Schema|a Schema without)") as caught:
        Dataset.open(str(path / "data.tfrecord"), path / "bad.pbtxt")
    assert caught.value.path == str(path / "bad.pbtxt")


def test_a_schema_that_no_feature_spec_says_is_refused(path):
    text = 'feature { name: "x" type: FLOAT }\nsparse_feature { name: "x" value_feature { name: "gone" } }'
    (path / "odd.pbtxt").write_text(text)
    with pytest.raises(ConfigError, match="says what no feature spec does"):
        Dataset.open(str(path / "data.tfrecord"), path / "odd.pbtxt")
