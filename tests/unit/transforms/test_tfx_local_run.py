"""What stands in for TFX's Transform on this machine: Parquet examples give what TFRecord gives, in the shape that TFX writes."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform import impl_helper
from tensorflow_transform.tf_metadata import schema_utils

from engine import Dataset
from engine.dataset.manifest import MANIFEST_NAME
from tests.support import parity
from transforms.tfx.local_run import LocalRun

_SPEC = {
    "x": tf.io.FixedLenFeature([], tf.float32),
    "pair": tf.io.FixedLenFeature([2], tf.int64),
    "tags": tf.io.VarLenFeature(tf.string),
}


def _preprocess(inputs):
    return {
        "z": tft.scale_to_z_score(inputs["x"]),
        "pair": inputs["pair"],
        "tags": tft.compute_and_apply_vocabulary(inputs["tags"], vocab_filename="tags"),
    }


def _run(source, file_format, directory):
    out = directory / "out"
    out.mkdir(parents=True)
    run = LocalRun(
        analyzed={"train": str(source / "*")},
        transformed=[(str(source / "*"), str(directory / "examples" / "transformed"))],
        schema=schema_utils.schema_from_feature_spec(_SPEC),
        preprocessing_fn=_preprocess,
        out=str(out),
        temp=str(directory / "temp"),
        file_format=file_format,
    )
    (directory / "temp").mkdir()
    run.open()
    output = run.analyze()
    run.materialize(run.transform())
    return output, sorted((directory / "examples").iterdir())


def test_parquet_examples_give_what_tfrecord_gives(tmp_path):
    rows = pa.table(
        {
            "x": pa.array([[1.0], [2.0], [6.0]], pa.large_list(pa.float32())),
            "pair": pa.array([[1, 2], [3, 4], [5, 6]], pa.large_list(pa.int64())),
            "tags": pa.array([[b"a", b"b"], None, [b"a"]], pa.large_list(pa.large_binary())),
        }
    )
    (tmp_path / "parquet").mkdir()
    pq.write_table(rows, tmp_path / "parquet" / "data-00000-of-00001.parquet")
    Dataset.open(str(tmp_path / "parquet"), _SPEC).write(str(tmp_path / "records"), "tfrecord", 1, compression="gzip")
    (tmp_path / "records" / MANIFEST_NAME).unlink()
    expected, records = _run(tmp_path / "records", "tfrecord", tmp_path / "a")
    found, files = _run(tmp_path / "parquet", "parquet", tmp_path / "b")
    assert parity.assets(found.transform_savedmodel_dir + "/..") == parity.assets(
        expected.transform_savedmodel_dir + "/.."
    )
    assert [path.name for path in files] == ["transformed-00000-of-00001.parquet"]
    table = pq.read_table(files[0])
    converter = impl_helper.make_tensor_to_arrow_converter(found.transformed_metadata.schema)
    assert {field.name: field.type for field in table.schema} == {
        field.name: field.type for field in converter.arrow_schema()
    }
    parsed = tf.io.parse_example(
        [record.numpy() for record in tf.data.TFRecordDataset([str(path) for path in records], "GZIP")],
        expected.transformed_feature_spec(),
    )
    assert table["z"].combine_chunks().flatten().to_pylist() == parsed["z"].numpy().tolist()
    assert table["pair"].to_pylist() == parsed["pair"].numpy().tolist()
    ragged = tf.RaggedTensor.from_sparse(parsed["tags"]).to_list()
    assert [each or [] for each in table["tags"].to_pylist()] == ragged == [[0, 1], [], [0]]
