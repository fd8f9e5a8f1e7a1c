"""A tf.Module with a step of its own: its parts of Keras 3, and optimizers of every kind; the oracle is a loop in plain TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest

from engine.dataset.arrays import ArrayDataset
from tests.support.models import classification_columns
from trainers import EarlyStopping, Trainer, TrainerConfig
from trainers.checkpoints.checkpoint import CheckpointError
from trainers.export import export_saved_model
from trainers.export.from_checkpoint import export_checkpoint
from trainers.models.build import BuiltModel

_STEPS = 6


@pytest.fixture(scope="module")
def data() -> ArrayDataset:
    return ArrayDataset(classification_columns(192))


def tower(optimizer):
    """A module whose weights are in a layer, a model and a variable of Keras 3, and in a variable of TensorFlow."""
    import keras
    import tensorflow as tf

    class Tower(tf.Module):
        def __init__(self):
            super().__init__()
            keras.utils.set_random_seed(1)
            self.optimizer = optimizer
            self.layers = [keras.layers.Dense(4, "tanh"), keras.layers.BatchNormalization()]
            self.head = keras.Sequential([keras.layers.Dense(1)])
            self.scale = keras.Variable(1.5, name="scale")
            self.shift = tf.Variable(0.25, name="shift")

        def __call__(self, features, training=False):
            hidden = self.layers[0](features["x"])
            return self.head(self.layers[1](hidden, training=training)) * self.scale + self.shift

        def compute_loss(self, features, labels, weights, training):
            wanted = tf.cast(tf.reshape(labels, [-1, 1]), tf.float32)
            return tf.reduce_mean(tf.square(self(features, training) - wanted))

    return Tower()


def weights(module):
    layers = [*module.layers, module.head]
    return [w for layer in layers for w in layer.get_weights()] + [module.scale.numpy(), module.shift.numpy()]


def plain_loop(data, optimizer, apply):
    """The same module in a loop of TensorFlow alone, on the same batches."""
    import tensorflow as tf

    module, feed = tower(optimizer), data.feed(global_batch_size=32)
    for batch in feed.dataset().take(_STEPS).map(feed.unpack):
        with tf.GradientTape() as tape:
            loss = module.compute_loss({"x": batch["x"]}, batch["y"], None, True)
        parts = [*module.layers, module.head]
        variables = [v for part in parts for v in part.trainable_variables] + [module.scale]
        found = [v.value for v in variables] + [module.shift]
        apply(list(zip(tape.gradient(loss, found), found)))
    return weights(module)


def ours(data, directory, optimizer, steps=_STEPS, build=tower, evaluation=None, **more):
    settings = {
        "label": "y",
        "features": ["x"],
        "global_batch_size": 32,
        "steps": steps,
        "steps_per_call": 2,
        "tensorboard": False,
    }
    config = TrainerConfig(directory=str(directory), **settings, **more)
    return Trainer(config, lambda context: build(optimizer()), data, eval=evaluation).fit()


def optimizers():
    import keras
    import tf_keras

    theirs = tf_keras.optimizers
    return {
        "keras": lambda: keras.optimizers.SGD(0.1),
        "loss scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
        "loss scale factor": lambda: keras.optimizers.SGD(0.1, loss_scale_factor=128.0),
        "tf_keras": lambda: theirs.SGD(theirs.schedules.PiecewiseConstantDecay([100], [0.1, 0.0])),
        "tf_keras legacy": lambda: theirs.legacy.SGD(0.1),
        "tf_keras loss scale": lambda: tf_keras.mixed_precision.LossScaleOptimizer(theirs.SGD(0.1)),
    }


@pytest.mark.parametrize(
    "kind", ["keras", "loss scale", "loss scale factor", "tf_keras", "tf_keras legacy", "tf_keras loss scale"]
)
def test_module_of_keras_layers_learns_as_in_plain_tensorflow(data, tmp_path, kind):
    result = ours(data, tmp_path, optimizers()[kind])
    for mine, theirs in zip(weights(result.model), plain_loop(data, None, descent), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_module_steps_nadam_of_tf_keras_as_it_does_eagerly(data, tmp_path):
    import tf_keras

    nadam = lambda: tf_keras.optimizers.Nadam(0.01)
    result = ours(data, tmp_path, nadam)
    for mine, theirs in zip(weights(result.model), plain_loop(data, None, nadam().apply_gradients), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_module_of_keras_layers_goes_on_and_is_exported_with_all_its_weights(data, tmp_path):
    import keras
    import tensorflow as tf

    adam = lambda: keras.optimizers.Adam(0.05)
    whole = ours(data, tmp_path / "whole", adam)
    ours(data, tmp_path / "parts", adam, steps=4)
    resumed = ours(data, tmp_path / "parts", adam)
    assert resumed.resumed_from == 4
    for mine, theirs in zip(weights(resumed.model), weights(whole.model), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    spec = {"x": tf.io.FixedLenFeature([8], tf.float32)}
    path = export_saved_model(whole.model, str(tmp_path / "out"), raw_feature_spec=spec, label="y")
    rows = data.columns["x"][:3]
    answer = tf.saved_model.load(str(path)).signatures["raw_features"](x=tf.constant(rows))
    np.testing.assert_allclose(answer["outputs"], whole.model({"x": tf.constant(rows)}), rtol=1e-6)


def test_nested_outputs_are_exported_by_joined_names(tmp_path):
    import tensorflow as tf

    class Nested(tf.Module):
        def __call__(self, features):
            return {"a": {"b": features["x"] + 1, "c": (features["x"], features["x"] * 2)}, "d": features["x"] * 3}

    spec = {"x": tf.io.FixedLenFeature([2], tf.float32)}
    path = export_saved_model(Nested(), str(tmp_path), raw_feature_spec=spec)
    answer = tf.saved_model.load(str(path)).signatures["raw_features"](x=tf.constant([[1.0, 2.0]]))
    values = {name: value.numpy().ravel().tolist() for name, value in answer.items()}
    assert values == {"a/b": [2, 3], "a/c/0": [1, 2], "a/c/1": [2, 4], "d": [3, 6]}


def test_averages_that_the_optimizer_of_a_module_keeps_are_its_weights_at_the_end(data, tmp_path):
    import keras

    average = lambda: keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    mean: list[np.ndarray] = []

    def descent(pairs):
        for i, (gradient, variable) in enumerate(pairs):
            variable.assign_sub(0.1 * gradient)
            if len(mean) <= i:
                mean.append(variable.numpy())  # the first step's weights begin the average
            else:
                mean[i] = 0.5 * mean[i] + 0.5 * variable.numpy()

    plain_loop(data, None, descent)
    result = ours(data, tmp_path, average)
    parts = [*result.model.layers, result.model.head]
    trained = [v for part in parts for v in part.trainable_variables] + [result.model.scale, result.model.shift]
    for mine, theirs in zip(trained, mean, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ema", [False, True])
def test_module_of_keras_layers_is_exported_from_its_checkpoint(data, tmp_path, ema):
    import keras
    import tensorflow as tf

    optimizer = lambda: keras.optimizers.SGD(0.1, use_ema=ema, ema_momentum=0.5)
    result = ours(data, tmp_path / "run", optimizer)
    spec = {"x": tf.io.FixedLenFeature([8], tf.float32), "y": tf.io.FixedLenFeature([], tf.int64)}
    path = export_checkpoint(
        tmp_path / "run",
        lambda context: tower(optimizer()),
        tmp_path / "out",
        transform_graph=None,
        raw_feature_spec=spec,
    )
    rows = tf.constant(data.columns["x"][:3])
    answer = tf.saved_model.load(str(path)).signatures["raw_features"](x=rows)
    np.testing.assert_allclose(answer["outputs"], result.model({"x": rows}), rtol=1e-6)


def test_averages_of_a_checkpoint_that_has_them_among_the_optimizers_variables_alone_go_on(data, tmp_path, monkeypatch):
    """Earlier versions wrote those of a module's optimizer so."""
    import keras

    average = lambda: keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    whole = ours(data, tmp_path / "whole", average)
    with monkeypatch.context() as earlier:
        tensors = BuiltModel.tensors
        earlier.setattr(BuiltModel, "tensors", lambda self: {k: v for k, v in tensors(self).items() if k != "average"})
        ours(data, tmp_path / "parts", average, steps=4)
    resumed = ours(data, tmp_path / "parts", average)
    assert resumed.resumed_from == 4
    for mine, theirs in zip(weights(resumed.model), weights(whole.model), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_best_checkpoint_that_has_averages_among_the_optimizers_variables_alone_is_restored(
    data, tmp_path, monkeypatch
):
    """Earlier versions wrote them so; the run that goes on with it gets worse, and ends with the best."""
    import keras

    def unlearning():
        rate = keras.optimizers.schedules.PiecewiseConstantDecay([3], [0.05, -0.5])
        return keras.optimizers.SGD(rate, use_ema=True, ema_momentum=0.5)

    more = {"evaluation": data, "eval_every_steps": 2, "early_stopping": EarlyStopping(patience=9)}
    whole = ours(data, tmp_path / "whole", unlearning, steps=8, **more)
    assert whole.best_checkpoint.endswith("4")
    with monkeypatch.context() as earlier:
        tensors = BuiltModel.tensors
        earlier.setattr(BuiltModel, "tensors", lambda self: {k: v for k, v in tensors(self).items() if k != "average"})
        ours(data, tmp_path / "parts", unlearning, steps=4, **more)
    resumed = ours(data, tmp_path / "parts", unlearning, steps=8, **more)
    assert resumed.resumed_from == 4 and resumed.best_checkpoint.endswith("4")
    for mine, theirs in zip(weights(resumed.model), weights(whole.model), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_checkpoint_without_the_keras_layers_of_a_module_is_refused_with_the_reason(data, tmp_path, monkeypatch):
    """Earlier versions neither trained nor saved them."""
    import keras

    plain = lambda: keras.optimizers.SGD(0.1)
    with monkeypatch.context() as earlier:
        tensors = BuiltModel.tensors

        def without_layers(self):
            found = tensors(self)
            return {**found, "model": [(name, value) for name, value in found["model"] if name == "shift:0"]}

        earlier.setattr(BuiltModel, "tensors", without_layers)
        ours(data, tmp_path, plain, steps=2)
    with pytest.raises(
        CheckpointError, match=r"has 1 model variables.*it lacks '.*' and others: .* tf\.Module with layers of Keras 3"
    ):
        ours(data, tmp_path, plain, steps=4)


def bounded(optimizer):
    """A layer that may have no negative weights, and one whose module does not name it among what is trained."""
    import keras
    import tensorflow as tf

    class Bounded(tf.Module):
        def __init__(self):
            super().__init__()
            keras.utils.set_random_seed(1)
            self.optimizer = optimizer
            self.fixed = keras.layers.Dense(4, "tanh")
            self.above = keras.layers.Dense(1, kernel_constraint="non_neg")

        @property
        def trainable_variables(self):
            return self.above.trainable_variables

        def compute_loss(self, features, labels, weights, training):
            wanted = tf.cast(tf.reshape(labels, [-1, 1]), tf.float32)
            return tf.reduce_mean(tf.square(self.above(self.fixed(features["x"])) + wanted))

    return Bounded()


def test_module_keeps_constraints_of_its_layers_and_trains_what_it_names(data, tmp_path):
    import keras

    optimizer = lambda: keras.optimizers.SGD(0.1)
    module = bounded(optimizer())
    for layer, shape in ((module.fixed, (None, 8)), (module.above, (None, 4))):
        layer.build(shape)
    result = ours(data, tmp_path, optimizer, build=bounded)
    np.testing.assert_array_equal(result.model.fixed.kernel.numpy(), module.fixed.kernel.numpy())
    kernel = result.model.above.kernel.numpy()
    assert (module.above.kernel.numpy() < 0).any() and (kernel >= 0).all() and (kernel > 0).any(), kernel


def test_module_has_an_optimizer_of_a_class_of_its_own(data, tmp_path):
    import tensorflow as tf

    class Descent(tf.Module):
        def __init__(self):
            super().__init__()
            self.iterations, self.learning_rate = tf.Variable(0, dtype=tf.int64, trainable=False), 0.1

        def build(self, variables):
            pass

        def apply_gradients(self, pairs, skip_gradients_aggregation):
            self.iterations.assign_add(1)
            descent(pairs)

    result = ours(data, tmp_path, Descent)
    assert int(result.model.optimizer.iterations) == _STEPS
    for mine, theirs in zip(weights(result.model), plain_loop(data, None, descent), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def descent(pairs):
    for gradient, variable in pairs:
        variable.assign_sub(0.1 * gradient)
