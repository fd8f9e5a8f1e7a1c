"""An exported model takes every Arrow type as the feature that it is elsewhere, in both of its raw signatures."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from engine import ConfigError, DataError, Dataset
from engine.schema.conform import as_numbers
from tests.unit.engine.test_features_of_types import LISTS, TYPES
from trainers.export.export import export_saved_model
from trainers.export.predict import LoadedModel, batch_tensors

KINDS = {kind.replace(" ", "_"): values for kind, values in {**TYPES, **LISTS}.items()}


class Echo(tf.Module):
    """Answers each feature: a fixed one itself, of a list the values as text."""

    def __call__(self, features):
        return {f"out_{name}": self.text(x) if isinstance(x, tf.SparseTensor) else x for name, x in features.items()}

    @staticmethod
    def text(lists):
        rows = tf.RaggedTensor.from_sparse(lists)
        precision = {"precision": 3} if rows.dtype.is_floating else {}
        texts = rows if rows.dtype == tf.string else tf.ragged.map_flat_values(tf.strings.as_string, rows, **precision)
        return tf.strings.reduce_join(texts, axis=1, separator=",")


def as_text(values):
    return b",".join(
        v if isinstance(v, bytes) else f"{v:.3f}".encode() if isinstance(v, float) else b"%d" % v for v in values
    )


def test_raw_signatures_answer_every_type_as_one_feature(tmp_path):
    pq.write_table(pa.table({name: array for name, (array, *_) in KINDS.items()}), tmp_path / "a.parquet")
    ds = Dataset.open(str(tmp_path / "a.parquet"))
    version = export_saved_model(Echo(), tmp_path / "model", raw_feature_spec=ds.feature_spec())
    ds.write(tmp_path / "records", "tfrecord", num_shards=1)
    records = [r.numpy() for r in tf.data.TFRecordDataset(Dataset.open(str(tmp_path / "records")).paths)]
    served = tf.saved_model.load(str(version)).signatures["serving_default"](examples=tf.constant(records))
    (batch,) = ds.read_batches()
    answers = LoadedModel(version, every_output=True).answers(batch)
    for name, (_, first, *second) in KINDS.items():
        expected = [as_text(first), as_text(second[0])] if second else first
        assert answers[f"out_{name}"].tolist() == expected, name
        assert served[f"out_{name}"].numpy().tolist() == expected, name


@pytest.mark.parametrize(
    ("array", "feature", "message"),
    [
        (pa.array([1.0, 1e300]), tf.io.FixedLenFeature([], tf.float32), "beyond the range of float"),
        (pa.array([[1, None], [2]]), tf.io.VarLenFeature(tf.int64), "null inside a list"),
        (pa.array([2**63], pa.uint64()), tf.io.FixedLenFeature([], tf.int64), "the model takes int64"),
    ],
)
def test_what_is_no_value_of_the_feature_is_refused(array, feature, message):
    with pytest.raises(DataError, match=message):
        batch_tensors(pa.record_batch({"c": array}), {"c": feature}, {"c": "c"})


@pytest.mark.parametrize(
    "kind", ["bool", "uint32", "date", "time of ms", "timestamp of a zone", "duration", "decimal", "float16"]
)
def test_labels_and_buckets_are_the_numbers_that_the_feature_is(kind):
    array, expected = TYPES[kind]
    np.testing.assert_array_equal(as_numbers(array).to_numpy(zero_copy_only=False).astype(np.float64), expected)


def test_text_is_no_number():
    assert as_numbers(pa.array(["1"])) is None


def test_card_of_a_checkpoint_without_a_path_is_read_and_one_that_could_not_be_is_not_written(tmp_path):
    from trainers.export.card import read_card
    from trainers.serving.lineage import lineage

    class Sum(tf.Module):
        def __call__(self, features):
            return features["x"]

    spec = {name: tf.io.FixedLenFeature([], tf.float32) for name in "xy"}
    for stated, says in ({"step": 3, "sha256": "ab"}, "step 3,"), ({"sha256": "ab"}, "step not stated,"):
        version = export_saved_model(Sum(), tmp_path, raw_feature_spec=spec, label="y", checkpoint=stated)
        assert read_card(version)["checkpoint"] == stated
        (link,) = (link for link in lineage(version) if link.name == "checkpoint")
        assert link.holds is None and link.says.startswith(says) and "not stated" in link.why
    with pytest.raises(ConfigError, match=r"checkpoint\.step"):
        export_saved_model(Sum(), tmp_path, raw_feature_spec=spec, label="y", checkpoint={"step": "third"})


def test_models_that_branch_on_tensors_keep_their_branches(tmp_path):
    import tf_keras

    class Largest(tf.Module):
        def __call__(self, features):
            x = features["x"]
            if tf.reduce_sum(x) > 0:
                return tf.reduce_max(x, 1)
            return -tf.reduce_max(-x, 1)

    class Signed(tf_keras.layers.Layer):
        def call(self, x):
            if tf.reduce_sum(x) > 0:
                x = x + 1.0
            else:
                x = x - 1.0
            return x

    class Model(tf_keras.Model):
        def __init__(self):
            super().__init__()
            self.signed = Signed()

        def call(self, features, training=False):
            return self.signed(features["x"])

    spec = {"x": tf.io.FixedLenFeature([2], tf.float32)}
    rows = tf.constant([[3.0, 2.0]])
    for number, (model, answers) in enumerate(
        ((Largest(), ([3.0], [-3.0])), (Model(), ([[4.0, 3.0]], [[-4.0, -3.0]])))
    ):
        version = export_saved_model(model, tmp_path / str(number), raw_feature_spec=spec)
        served = tf.saved_model.load(str(version)).signatures["raw_features"]
        found = [next(iter(served(x=x).values())).numpy().tolist() for x in (rows, -rows)]
        assert found == list(answers)
