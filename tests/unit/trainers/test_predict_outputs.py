"""Outputs of models that are no plain column: refused by name, and no hindrance where others are asked for."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import ConfigError, DataError, Dataset
from trainers.serving.predict import predict

ROWS = 10


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    import tensorflow as tf

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def raw_features(self, x):
            lengths = tf.cast(x, tf.int64)
            return {
                "plain": 2 * x,
                "half": tf.cast(x, tf.bfloat16),
                "text": tf.strings.as_string(lengths),
                "sum": tf.reduce_sum(x),
                "ragged": tf.RaggedTensor.from_row_lengths(tf.range(tf.reduce_sum(lengths)), lengths),
                "alike": tf.RaggedTensor.from_row_lengths(x, tf.ones_like(lengths)),
                "sparse": tf.sparse.from_dense(tf.stack([x, x], axis=1)),
                "longest": tf.tile(x[:, None], [1, 2 + tf.cast(tf.reduce_max(x), tf.int32)]),
            }

    path = tmp_path_factory.mktemp("odd") / "1"
    module = Model()
    tf.saved_model.save(module, str(path), signatures={"raw_features": module.raw_features})
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(pa.table({"x": pa.array(np.arange(ROWS), pa.float32())}), path)
    return str(path)


def test_outputs_that_are_not_asked_for_hinder_no_others(model, data, tmp_path):
    predict(model, data, tmp_path / "out", outputs=["plain", "half", "text"], num_shards=2, batch_rows=4)
    found = pa.Table.from_batches(list(Dataset.open(tmp_path / "out").read_batches())).to_pydict()
    x = np.arange(ROWS, dtype=np.float32).tolist()
    assert found == {"plain": [2 * v for v in x], "half": x, "text": [b"%d" % v for v in range(ROWS)]}


@pytest.mark.parametrize(
    ("output", "kind", "message"),
    [
        ("ragged", ConfigError, "output 'ragged' is a RaggedTensor; .*make it dense, or leave it out"),
        ("alike", ConfigError, "output 'alike' is a RaggedTensor"),
        ("sparse", ConfigError, "output 'sparse' is a SparseTensor"),
        ("sum", DataError, r"output 'sum' has shape \[\] for 1 rows; leave it out"),
        ("longest", ConfigError, "output 'longest' is fixed_size_list.* a row here and .*5. in the first rows"),
    ],
)
def test_an_output_that_is_no_column_is_named(model, data, tmp_path, output, kind, message):
    with pytest.raises(kind, match=message):
        predict(model, data, tmp_path / "out", outputs=[output], num_shards=2, batch_rows=4)
    assert not (tmp_path / "out").exists()
