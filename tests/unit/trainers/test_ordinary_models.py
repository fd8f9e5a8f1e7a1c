"""Models as people write them, on columns as they are; the oracle is Keras on the same batches."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import Dataset
from engine.core.errors import ConfigError
from trainers import Trainer, TrainerConfig

_BATCH, _STEPS = 40, 4


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Dataset:
    rng = np.random.default_rng(0)
    rows = 400
    columns = {
        "a": rng.normal(size=rows).astype(np.float32),
        "seq": pa.array([rng.integers(1, 20, rng.integers(0, 6)).tolist() for _ in range(rows)], pa.list_(pa.int64())),
        "tags": pa.array([rng.integers(0, 9, rng.integers(0, 3)).tolist() for _ in range(rows)], pa.list_(pa.int64())),
        "word": [f"w{i}" for i in rng.integers(0, 9, rows)],
        "y": rng.integers(0, 2, rows),
        "z": rng.normal(size=rows).astype(np.float32),
    }
    path = tmp_path_factory.mktemp("data") / "x.parquet"
    pq.write_table(pa.table(columns), path)
    return Dataset.open(str(path))


def fit(build, data, directory, **settings):
    chosen = {"label": "y", "global_batch_size": _BATCH, "steps": _STEPS, "tensorboard": False, **settings}
    return Trainer(TrainerConfig(directory=str(directory), **chosen), build, data, eval=data).fit()


def keras_on_the_same_batches(build, data, features, label="y", **order):
    """The model after Keras's own train_on_batch, fed with what the feed gives."""
    import keras

    keras.utils.set_random_seed(0)
    model = build(None)
    feed = data.feed(global_batch_size=_BATCH, seed=0, **order)
    for _, packed in zip(range(_STEPS), feed.dataset()):
        batch = feed.unpack(packed)
        target = {name: batch[name] for name in label} if isinstance(label, list) else batch[label]
        model.train_on_batch(features(batch), target)
    return model


def same_weights(ours, theirs) -> None:
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)


def recurrent(kind):
    def build(context):
        import keras

        seq = keras.Input((None,), dtype="int64", name="seq")
        hidden = getattr(keras.layers, kind)(4)(keras.layers.Embedding(20, 4)(seq))
        model = keras.Model({"seq": seq}, keras.layers.Dense(1, activation="sigmoid")(hidden))
        model.compile("sgd", "binary_crossentropy")
        return model

    return build


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_fit_recurrent_layer_on_a_list_column_equals_keras(data, tmp_path, kind):
    build = recurrent(kind)
    same_weights(fit(build, data, tmp_path).model, keras_on_the_same_batches(build, data, lambda b: {"seq": b["seq"]}))


def subclassed(context):
    import keras
    import tensorflow as tf

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.table, self.head = keras.layers.Embedding(9, 4), keras.layers.Dense(1, activation="sigmoid")

        def call(self, x):
            tags = tf.reduce_sum(self.table(tf.sparse.to_dense(x["tags"])), 1)
            return self.head(tf.concat([tags, x["a"][:, None]], 1))

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):  # as it was before Keras 3.7
            return tf.reduce_mean(keras.losses.binary_crossentropy(y[:, None], y_pred))

    model = Model()
    model.compile("sgd", "binary_crossentropy")
    return model


def test_fit_subclassed_model_of_sparse_tensors_and_old_compute_loss_equals_keras(data, tmp_path):
    features = ["tags", "a"]
    ours = fit(subclassed, data, tmp_path, features=features).model
    same_weights(ours, keras_on_the_same_batches(subclassed, data, lambda b: {n: b[n] for n in features}))


def test_fit_module_of_sparse_features_is_evaluated_on_every_row(data, tmp_path):
    import keras
    import tensorflow as tf

    class Bag(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(tf.ones([9, 1]) * 0.1)
            self.optimizer = keras.optimizers.SGD(0.0)

        def compute_loss(self, features, labels, weights, training):
            filled, _ = tf.sparse.fill_empty_rows(features["tags"], tf.constant(0, tf.int64))
            logits = tf.nn.embedding_lookup_sparse(self.w, filled, None, combiner="sum")[:, 0]
            return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits))

    # 400 rows in batches of 150: the last one is padded, and its padding must not count.
    loss = fit(lambda context: Bag(), data, tmp_path, eval_batch_size=150).eval_metrics["loss"]
    table = data.to_arrow() if hasattr(data, "to_arrow") else pa.Table.from_batches(list(data.read_batches()))
    logits = np.array([0.1 * max(len(tags), 1) for tags in table["tags"].to_pylist()])
    labels = table["y"].to_numpy()
    assert loss == pytest.approx(np.mean(np.log1p(np.exp(logits)) - labels * logits), rel=1e-5)


def test_fit_unnamed_sequential_input_takes_the_chosen_feature(data, tmp_path):
    import keras

    def build(context):
        model = keras.Sequential([keras.Input(()), keras.layers.Reshape((1,)), keras.layers.Dense(1, name="d")])
        model.compile("sgd", "mse")
        return model

    same_weights(
        fit(build, data, tmp_path, features=["a"]).model, keras_on_the_same_batches(build, data, lambda b: b["a"])
    )
    with pytest.raises(
        ConfigError, match=r"the model has an input 'keras_tensor.*the data has a, seq.*features=\[NAME\]"
    ):
        fit(build, data, tmp_path / "all")


def multiple(context):
    import keras

    a = keras.Input((), name="a")
    hidden = keras.layers.Reshape((1,))(a)
    outputs = {
        "y": keras.layers.Dense(1, activation="sigmoid", name="y")(hidden),
        "z": keras.layers.Dense(1, name="z")(hidden),
    }
    model = keras.Model({"a": a}, outputs)
    model.compile("sgd", {"y": "binary_crossentropy", "z": "mse"})
    return model


@pytest.mark.parametrize("options", [{}, {"accumulate_steps": 2}])
def test_fit_several_labels_and_columns_that_no_input_names_equals_keras(data, tmp_path, options):
    ours = fit(multiple, data, tmp_path, label=["y", "z"], **options).model
    same_weights(ours, keras_on_the_same_batches(multiple, data, lambda b: {"a": b["a"]}, label=["y", "z"]))


def test_fit_unused_string_column_does_not_reach_xla(data, tmp_path):
    assert fit(multiple, data, tmp_path, label=["y", "z"], xla=True).steps == _STEPS


@pytest.mark.parametrize("options", [{}, {"accumulate_steps": 2}])
def test_fit_lists_of_a_subclassed_model_are_cut_with_the_batch(data, tmp_path, options):
    ours = fit(subclassed, data, tmp_path, **options).model  # no features chosen: lists and strings come along
    same_weights(ours, keras_on_the_same_batches(subclassed, data, lambda b: {n: b[n] for n in ("tags", "a")}))


def test_fit_without_a_label_learns_from_its_own_loss(data, tmp_path):
    import keras

    class Centre(keras.Model):
        def __init__(self):
            super().__init__()
            self.w = self.add_weight(shape=(), initializer="zeros")

        def call(self, x):
            return x["a"] - self.w

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return keras.ops.mean(keras.ops.square(y_pred))

    def build(context):
        model = Centre()
        model.compile(keras.optimizers.SGD(0.1))
        return model

    result = fit(build, data, tmp_path, label=None, features=["a"], steps=60)
    table = pa.Table.from_batches(list(data.read_batches()))
    assert float(result.model.w) == pytest.approx(table["a"].to_numpy().mean(), abs=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": ["b"]}, "features: feature 'b' not found; the data has a, seq"),
        ({"features": ["a", "y"]}, r"names without \['y'\], a label"),
        ({"features": []}, "at least one name"),
        ({"pad": {"b": {"length": 3}}}, "pad: feature 'b' not found"),
        ({"pad": {"seq": {"length": 0}}}, r"pad\.seq\.length: got 0; expected at least 1"),
        ({"pad": {"seq": {"length": 3, "buckets": [9]}}}, "less than length=3"),
        ({"pad": {"a": {"length": 3}}, "features": ["a"]}, "feature 'a' is not a list column"),
    ],
)
def test_fit_feature_settings_that_do_not_fit_are_named(data, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        fit(subclassed, data, tmp_path, **settings)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("keep", ["first", "last"])
@pytest.mark.parametrize("buckets", [(), (2, 3)])
def test_pad_lists_equals_python_lists_padded_by_hand(keep, buckets):
    import tensorflow as tf

    from trainers.config.padding import PadList
    from trainers.models.padding import pad_lists

    setting = PadList(length=4, keep=keep, value=-1, buckets=buckets)
    for lists in ([[1, 2, 3, 4, 5], [], [6]], [[1], []], [[1, 2, 3], [4]], [[], []]):
        longest = min(4, max(map(len, lists)))
        width = min(size for size in (*buckets, 4) if size >= longest) if buckets else 4
        cut = [row[:4] if keep == "first" else row[-4:] for row in lists]
        for given in (tf.ragged.constant(lists, tf.int64), tf.ragged.constant(lists, tf.int64).to_sparse()):
            found = pad_lists({"seq": given, "a": tf.zeros([len(lists)])}, {"seq": setting})
            assert sorted(found) == ["a", "seq", "seq_mask"]
            assert found["seq"].numpy().tolist() == [row + [-1] * (width - len(row)) for row in cut]
            assert found["seq_mask"].numpy().sum(1).tolist() == [len(row) for row in cut]


@pytest.mark.parametrize("order", [{}, {"bucket_by_length": "seq", "bucket_boundaries": [2, 4]}])
def test_fit_padded_list_and_its_mask_reach_the_model(data, tmp_path, order):
    import keras

    def build(context):
        seq, mask = keras.Input((4,), dtype="int64", name="seq"), keras.Input((4,), dtype="bool", name="seq_mask")
        hidden = keras.layers.Embedding(20, 4)(seq)
        # A sum: the mean of an empty list is no number.
        hidden = keras.ops.sum(hidden * keras.ops.expand_dims(keras.ops.cast(mask, "float32"), -1), axis=1)
        model = keras.Model({"seq": seq, "seq_mask": mask}, keras.layers.Dense(1, activation="sigmoid")(hidden))
        model.compile("sgd", "binary_crossentropy")
        return model

    def padded(batch):
        rows = [row[row > 0][:4] for row in keras.ops.convert_to_numpy(_dense(batch["seq"]))]
        seq = np.array([np.pad(row, (0, 4 - len(row))) for row in rows])
        return {"seq": seq, "seq_mask": seq > 0}

    def _dense(seq):
        import tensorflow as tf

        return tf.sparse.to_dense(seq)

    ours = fit(build, data, tmp_path, pad={"seq": {"length": 4}}, **order).model
    same_weights(ours, keras_on_the_same_batches(build, data, padded, **order))


def example(**features) -> bytes:
    import tensorflow as tf

    message = tf.train.Example()
    for name, values in features.items():
        kind = "int64_list" if isinstance(values[0], int) else "float_list"
        getattr(message.features.feature[name], kind).value.extend(values)
    return message.SerializeToString()


def test_export_of_a_subclassed_model_asks_only_for_what_the_answer_depends_on(data, tmp_path):
    import tensorflow as tf

    from trainers.export.from_checkpoint import export_checkpoint

    result = fit(subclassed, data, tmp_path / "run")
    spec = data.feature_spec()
    version = export_checkpoint(
        tmp_path / "run", subclassed, tmp_path / "out", transform_graph=None, raw_feature_spec=spec
    )
    loaded = tf.saved_model.load(str(version))
    asked = loaded.signatures["raw_features"].structured_input_signature[1]
    assert sorted(asked) == ["a", "tags", "tags_row_lengths"], "neither the string nor the other list"
    answer = loaded.signatures["serving_default"](examples=tf.constant([example(a=[0.5], tags=[1, 2])]))["outputs"]
    expected = result.model({"a": tf.constant([0.5]), "tags": tf.sparse.from_dense(tf.constant([[1, 2]], tf.int64))})
    np.testing.assert_allclose(answer, expected, rtol=1e-6)


def test_export_pads_lists_as_the_training_did(data, tmp_path):
    import keras
    import tensorflow as tf

    from trainers.export.from_checkpoint import export_checkpoint

    def build(context):
        seq = keras.Input((3,), dtype="int64", name="seq")
        hidden = keras.layers.Flatten()(keras.layers.Embedding(20, 4)(seq))
        model = keras.Model({"seq": seq}, keras.layers.Dense(1)(hidden))
        model.compile("sgd", "mse")
        return model

    model = fit(build, data, tmp_path / "run", pad={"seq": {"length": 3, "keep": "last", "value": 19}}).model
    spec = data.feature_spec()
    version = export_checkpoint(tmp_path / "run", build, tmp_path / "out", transform_graph=None, raw_feature_spec=spec)
    loaded = tf.saved_model.load(str(version))
    examples = tf.constant([example(seq=[1, 2, 3, 4]), example(seq=[5])])
    answer = loaded.signatures["serving_default"](examples=examples)["outputs"]
    np.testing.assert_allclose(answer, model({"seq": tf.constant([[2, 3, 4], [5, 19, 19]], tf.int64)}), rtol=1e-6)


_ODD = ("citric acid", "a/b", "größe", "1st", "citric_acid")


def odd_model(context):
    import keras

    inputs = {
        name: keras.Input((), name=None if "/" in name else name) for name in context.feature_spec if name != "tag list"
    }
    rows = [keras.layers.Reshape((1,))(inputs[name]) for name in sorted(inputs)]
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Concatenate()(rows)))
    model.compile("sgd", "mse")
    return model


def odd_subclassed(context):
    import keras
    import tensorflow as tf

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = keras.layers.Dense(1)

        def call(self, x):
            tags = tf.sparse.reduce_sum(x["tag list"], 1)
            tags.set_shape([None])
            return self.head(tf.stack([*(x[name] for name in _ODD), tags], 1))

    model = Model()
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("build", [odd_model, odd_subclassed])
def test_export_of_columns_with_spaces_slashes_and_unicode_answers_and_is_evaluated(tmp_path, build):
    import tensorflow as tf

    from trainers.evaluation.evaluate import evaluate
    from trainers.export.from_checkpoint import export_checkpoint

    rng = np.random.default_rng(1)
    columns = {name: rng.normal(size=200).astype(np.float32) for name in _ODD}
    lists = pa.array([rng.normal(size=i % 3).astype(np.float32) for i in range(200)], pa.list_(pa.float32()))
    table = pa.table({**columns, "tag list": lists, "y": columns["citric acid"] * 2})
    pq.write_table(table, tmp_path / "x.parquet")
    data = Dataset.open(str(tmp_path / "x.parquet"))
    result = fit(build, data, tmp_path / "run")
    spec = data.feature_spec()
    version = export_checkpoint(tmp_path / "run", build, tmp_path / "out", transform_graph=None, raw_feature_spec=spec)
    signature = tf.saved_model.load(str(version)).signatures["raw_features"]
    names = sorted(signature.structured_input_signature[1])
    assert names[:4] == ["a_b", "citric_acid", "citric_acid_2", "f1st"] and "gr__e" in names
    found = evaluate(version, data, "y", metrics=["MeanSquaredError"])
    assert found.overall["mean_squared_error"] == pytest.approx(result.eval_metrics["loss"], rel=1e-5)


@pytest.mark.parametrize(("weight", "said"), [("seq", "VarLenFeature of int64"), ("word", "FixedLenFeature of string")])
def test_weight_that_is_not_a_number_a_record_is_refused_by_name(data, tmp_path, weight, said):
    with pytest.raises(ConfigError, match=f"weight '{weight}' is {said}"):
        fit(lambda context: pytest.fail("a model was built"), data, tmp_path, weight=weight)
