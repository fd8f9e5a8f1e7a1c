"""Models of tf_keras as people write them; the oracle is tf_keras on the same batches."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import Dataset
from tests.support.models import classification_columns
from trainers import ArrayDataset, Trainer, TrainerConfig
from trainers.checkpoints.checkpoint import CheckpointError
from trainers.export import export_saved_model
from trainers.export.from_checkpoint import export_checkpoint, rebuild_model
from trainers.tfx.base_model import load_weights

_STEPS = 3


def build(context=None):
    """Lookup layers inside of the model, outputs as a list, labels by their names, and a metric in `compute_metrics`."""
    import tensorflow as tf
    import tf_keras

    layers = tf_keras.layers

    class Counts(tf_keras.Model):
        def compute_metrics(self, x, y, y_pred, sample_weight):
            self.mean.update_state(tf.reduce_mean(y_pred[0]))
            return {**super().compute_metrics(x, y, y_pred, sample_weight), "mean": self.mean.result()}

        @property
        def metrics(self):
            return [*super().metrics, self.mean]

    tf_keras.utils.set_random_seed(1)
    text, size = layers.Input((), dtype="string", name="text"), layers.Input((1,), name="size")
    words = layers.TextVectorization(max_tokens=20, output_sequence_length=4, vocabulary=[f"t{i}" for i in range(9)])
    hidden = layers.GlobalAveragePooling1D()(layers.Embedding(20, 4)(words(text)))
    hidden = layers.Concatenate()([hidden, size])
    outputs = [layers.Dense(1, "sigmoid", name="y")(hidden), layers.Dense(1, name="z")(hidden)]
    model = Counts({"text": text, "size": size}, outputs)
    model.mean = tf_keras.metrics.Mean(name="mean")
    losses = {"z": "mse", "y": "binary_crossentropy"}
    model.compile(tf_keras.optimizers.SGD(0.1), losses, metrics={"y": ["accuracy"], "z": ["mae"]})
    return model


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Dataset:
    rng = np.random.default_rng(1)
    columns = {
        "text": [" ".join(f"t{j}" for j in rng.integers(0, 9, 1 + i % 4)) for i in range(100)],
        "size": rng.uniform(1, 2, 100).astype(np.float32),
        "y": rng.integers(0, 2, 100),
        "z": rng.normal(size=100).astype(np.float32),
    }
    path = tmp_path_factory.mktemp("data") / "x.parquet"
    pq.write_table(pa.table(columns), path)
    return Dataset.open(str(path))


def test_lookup_layers_list_outputs_and_compute_metrics_equal_tf_keras(data, tmp_path):
    import tensorflow as tf

    settings = {"label": ["y", "z"], "global_batch_size": 20, "steps": _STEPS, "eval_batch_size": 40}
    config = TrainerConfig(directory=str(tmp_path / "run"), tensorboard=False, **settings)
    ours = Trainer(config, build, data, eval=data).fit()
    theirs, feed = build(), data.feed(global_batch_size=20, seed=0)
    split = lambda batch: ({k: batch[k] for k in ("text", "size")}, {k: batch[k] for k in ("y", "z")})
    for x, y in feed.dataset().take(_STEPS).map(feed.unpack).map(split):
        theirs.train_on_batch(x, y)
    theirs.reset_metrics()
    for mine, other in zip(ours.model.trainable_weights, theirs.trainable_weights, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
    rows = data.read_batches(100).__next__().to_pydict()
    x = {"text": tf.constant(rows["text"]), "size": tf.constant(rows["size"])[:, None]}
    y = {"y": tf.constant(rows["y"]), "z": tf.constant(rows["z"])}
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(40)
    expected = theirs.evaluate(batches, verbose=0, return_dict=True)
    assert {"y_loss", "z_loss", "y_accuracy", "z_mae", "mean"} < set(expected)
    assert {name: ours.eval_metrics[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    spec = {"text": tf.io.FixedLenFeature([], tf.string), "size": tf.io.FixedLenFeature([1], tf.float32)}
    path = export_saved_model(ours.model, str(tmp_path / "out"), raw_feature_spec=spec, label=["y", "z"])
    answer = tf.saved_model.load(str(path)).signatures["raw_features"](**x)
    np.testing.assert_allclose(answer["output_0"], ours.model(x)[0], rtol=1e-6)


def test_adapted_lookup_layer_is_exported_from_its_checkpoint(data, tmp_path):
    import tensorflow as tf
    import tf_keras

    def build(context):
        tf_keras.utils.set_random_seed(1)
        layers = tf_keras.layers
        words = layers.TextVectorization(output_sequence_length=4)
        words.adapt(tf.constant([f"t{i}" for i in range(9)]))
        text = layers.Input((), dtype="string", name="text")
        hidden = layers.GlobalAveragePooling1D()(layers.Embedding(20, 4)(words(text)))
        model = tf_keras.Model({"text": text}, layers.Dense(1)(hidden))
        model.compile(tf_keras.optimizers.SGD(0.1), "mse")
        return model

    run = str(tmp_path / "run")
    config = TrainerConfig(
        directory=run, label="y", features=["text"], global_batch_size=20, steps=2, tensorboard=False
    )
    ours = Trainer(config, build, data).fit()
    spec = {"text": tf.io.FixedLenFeature([], tf.string), "y": tf.io.FixedLenFeature([], tf.int64)}
    path = export_checkpoint(run, build, tmp_path / "out", transform_graph=None, raw_feature_spec=spec)
    text = tf.constant(["t1 t2", "t8", "unknown"])
    answer = tf.saved_model.load(str(path)).signatures["raw_features"](text=text)
    np.testing.assert_allclose(answer["outputs"], ours.model({"text": text}), rtol=1e-6)


def build_changed(frozen):
    """A model of which one layer is frozen, or thawed, once it is compiled."""
    import tf_keras

    tf_keras.utils.set_random_seed(1)
    inputs = tf_keras.layers.Input((8,), name="x")
    hidden = tf_keras.layers.Dense(4, "tanh", name="changed", trainable=frozen)
    model = tf_keras.Model({"x": inputs}, tf_keras.layers.Dense(1)(hidden(inputs)))
    model.compile(tf_keras.optimizers.SGD(0.1), "mse")
    hidden.trainable = not frozen
    return model


@pytest.mark.parametrize("frozen", [True, False])
def test_what_is_frozen_or_thawed_after_compile_is_trained_as_tf_keras_does_and_said(tmp_path, capfd, frozen):
    columns = {name: value for name, value in classification_columns(96).items() if name in "xy"}
    data = ArrayDataset(columns)
    settings = {"label": "y", "global_batch_size": 32, "steps": _STEPS, "tensorboard": False, "ema_decay": 0.5}
    config = TrainerConfig(directory=str(tmp_path), **settings)
    averaged = Trainer(config, lambda context: build_changed(frozen), data).fit().model
    assert "layer 'changed' was frozen or thawed after compile(): tf_keras trains" in capfd.readouterr().err
    theirs, feed, means = build_changed(frozen), data.feed(global_batch_size=32, seed=0), None
    start = theirs.get_weights()
    for batch in feed.dataset().take(_STEPS).map(feed.unpack):
        means = start if means is None else means
        theirs.train_on_batch({"x": batch["x"]}, batch["y"])
        means = [0.5 * mean + 0.5 * value for mean, value in zip(means, theirs.get_weights())]
    assert np.array_equal(start[0], theirs.get_weights()[0]) is not frozen
    rebuilt, _ = rebuild_model(
        tmp_path, lambda context: build_changed(frozen), None, feature_spec=dict(data.feature_spec())
    )
    for model in (averaged, rebuilt):
        for mine, expected in zip(model.get_weights(), means, strict=True):
            np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=1e-6)


def build_tower(context=None):
    """Two layers with weights of one shape in a layer; the first one is frozen once the model is compiled."""
    import tf_keras

    class Tower(tf_keras.layers.Layer):
        def __init__(self):
            super().__init__(name="tower")
            self.first = tf_keras.layers.Dense(8, name="first")
            self.second = tf_keras.layers.Dense(8, "tanh", name="second")

        def call(self, x):
            return self.second(self.first(x))

    tower, inputs = Tower(), tf_keras.layers.Input((8,), name="x")
    model = tf_keras.Model({"x": inputs}, tf_keras.layers.Dense(1, name="out")(tower(inputs)))
    model.compile(tf_keras.optimizers.SGD(0.1), "mse")
    tower.first.trainable = False
    return model


@pytest.mark.parametrize("decay", [None, 0.5])
def test_checkpoint_of_layers_that_an_earlier_version_took_for_frozen_is_restored(tmp_path, monkeypatch, decay):
    """It went by what is trainable, not by what was when the model was compiled."""
    from trainers.models import build

    columns = {name: value for name, value in classification_columns(96).items() if name in "xy"}
    data = ArrayDataset(columns)
    settings = {"label": "y", "global_batch_size": 32, "tensorboard": False, "ema_decay": decay}
    run = TrainerConfig(directory=str(tmp_path), steps=_STEPS, **settings)
    with monkeypatch.context() as earlier:
        earlier.setattr(build, "take_compiled_state", lambda model: [])
        trained = Trainer(run, build_tower, data).fit().model
    expected = {v.name: v.numpy() for v in trained.variables}
    rebuilt, _ = rebuild_model(tmp_path, build_tower, None, feature_spec=dict(data.feature_spec()))
    assert [v.name for v in rebuilt.variables] != list(expected)
    for variable in rebuilt.variables:
        np.testing.assert_array_equal(variable.numpy(), expected[variable.name], err_msg=variable.name)
    if decay is not None:
        more = TrainerConfig(directory=str(tmp_path), steps=2 * _STEPS, **settings)
        with pytest.raises(CheckpointError, match=r"it lacks .* an earlier version went by; train in another"):
            Trainer(more, build_tower, data).fit()


def test_base_model_whose_weights_stand_in_another_order_gives_each_its_own(tmp_path):
    """An export has them in the order of what was trained; a model that was just built, in that of what is frozen now."""
    columns = {name: value for name, value in classification_columns(96).items() if name in "xy"}
    data = ArrayDataset(columns)
    config = TrainerConfig(
        directory=str(tmp_path / "run"), label="y", global_batch_size=32, steps=_STEPS, tensorboard=False
    )
    trained = Trainer(config, build_tower, data).fit().model
    version = export_saved_model(trained, tmp_path / "out", raw_feature_spec=dict(data.feature_spec()), label="y")
    expected, model = {v.name: v.numpy() for v in trained.variables}, build_tower()
    assert [v.name for v in model.variables] != list(expected)
    load_weights(model, str(version))
    for variable in model.variables:
        np.testing.assert_array_equal(variable.numpy(), expected[variable.name], err_msg=variable.name)
