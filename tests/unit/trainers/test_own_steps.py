"""Models with a train_step, test_step or metric of their own: what Keras does with them is what happens."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.models import classification_columns
from trainers import ArrayDataset, Trainer, TrainerConfig

STEPS = 8


@pytest.fixture(scope="module")
def data() -> ArrayDataset:
    columns = classification_columns()
    return ArrayDataset({"x": columns["x"], "y": columns["y"]})


@pytest.fixture(scope="module")
def batches(data):
    feed = data.feed(global_batch_size=64)
    return [({"x": b["x"].numpy()}, b["y"].numpy()) for b in feed.dataset().take(STEPS).map(feed.unpack)]


def ours(data, tmp_path, build, **changes):
    settings = {"label": "y", "global_batch_size": 64, "steps": STEPS, "steps_per_call": 4, "tensorboard": False}
    return Trainer(TrainerConfig(directory=str(tmp_path), **{**settings, **changes}), build, data, eval=data).fit()


def apart(left, right) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(left.get_weights(), right.get_weights()))


def library(name):
    if name == "keras":
        import keras

        return keras
    return pytest.importorskip("tf_keras")


def ascending(keras):
    """Returns a build_model whose train_step goes up its loss, which no default step does, and whose test_step says 7."""
    import tensorflow as tf

    class Ascending(keras.Model):
        def train_step(self, data):
            x, y = data[:2]
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(tf.cast(y[:, None], tf.float32) - self(x, training=True)))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip([-g for g in gradients], self.trainable_variables))
            return {"loss": loss}

        def test_step(self, data):
            return {"loss": tf.constant(7.0)}

    def build(context=None):
        keras.utils.set_random_seed(1)
        inputs = {"x": keras.layers.Input((8,), name="x")}
        model = Ascending(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs["x"]))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model

    return build


@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_own_train_step_and_test_step_are_called(name, data, batches, tmp_path, capfd):
    build = ascending(library(name))
    expected = build()
    for x, y in batches:
        expected.train_on_batch(x, y)
    result = ours(data, tmp_path, build, eval_steps=2)
    assert apart(result.model, expected) < 1e-6
    assert result.eval_metrics["loss"] == 7.0
    assert "train_step and test_step of Ascending" in capfd.readouterr().err


def build_gan(context=None):
    """Returns the GAN of Keras's guide in small: two models, two optimizers, a loss tracker each."""
    import keras
    import tensorflow as tf

    class Gan(keras.Model):
        def __init__(self):
            super().__init__()
            self.critic = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(1)])
            self.maker = keras.Sequential([keras.Input((2,)), keras.layers.Dense(8)])
            self.critic_loss = keras.metrics.Mean(name="critic_loss")
            self.maker_loss = keras.metrics.Mean(name="maker_loss")
            self.built = True

        def compile(self, critic_optimizer, maker_optimizer, loss_fn):
            super().compile()
            self.critic_optimizer, self.maker_optimizer, self.loss_fn = critic_optimizer, maker_optimizer, loss_fn

        @property
        def metrics(self):
            return [self.critic_loss, self.maker_loss]

        def train_step(self, real):
            real = real["x"]
            noise = tf.ones((tf.shape(real)[0], 2)) * 0.1
            both = tf.concat([self.maker(noise), real], 0)
            labels = tf.concat([tf.ones_like(noise[:, :1]), tf.zeros_like(noise[:, :1])], 0)
            with tf.GradientTape() as tape:
                loss = self.loss_fn(labels, self.critic(both))
            weights = self.critic.trainable_weights
            self.critic_optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
            with tf.GradientTape() as tape:
                fooled = self.loss_fn(tf.zeros_like(noise[:, :1]), self.critic(self.maker(noise)))
            weights = self.maker.trainable_weights
            self.maker_optimizer.apply_gradients(zip(tape.gradient(fooled, weights), weights))
            self.critic_loss.update_state(loss)
            self.maker_loss.update_state(fooled)
            return {m.name: m.result() for m in self.metrics}

    keras.utils.set_random_seed(1)
    model = Gan()
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.1, momentum=0.9), loss)
    return model


def test_gan_equals_keras_and_goes_on_with_both_optimizers(tmp_path):
    data = ArrayDataset({"x": classification_columns()["x"]})
    feed = data.feed(global_batch_size=64)
    expected = build_gan()
    for batch in feed.dataset().take(STEPS).map(feed.unpack):
        logs = expected.train_step({"x": batch["x"]})
    settings = {"label": None, "global_batch_size": 64, "steps_per_call": 4, "tensorboard": False}

    def run(steps):
        return Trainer(TrainerConfig(directory=str(tmp_path), steps=steps, **settings), build_gan, data).fit()

    run(4)
    result = run(STEPS)
    assert result.resumed_from == 4
    assert apart(result.model, expected) < 1e-6
    assert set(result.metrics) >= {"critic_loss", "maker_loss"}
    assert logs


def test_own_train_step_refuses_what_it_cannot_honour(data, tmp_path):
    import keras

    with pytest.raises(ValueError, match="accumulate_steps=2: Ascending has a train_step of its own"):
        ours(data, tmp_path, ascending(keras), accumulate_steps=2)


def test_clip_norm_holds_in_an_own_train_step(data, tmp_path):
    import keras

    build = ascending(keras)
    before = build().get_weights()
    result = ours(data, tmp_path, build, steps=1, steps_per_call=1, clip_norm=0.01)
    step = np.sqrt(sum(np.square(a - b).sum() for a, b in zip(result.model.get_weights(), before)))
    assert step == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_metric_whose_result_is_its_variable_equals_keras(data, tmp_path):
    import keras

    class Positives(keras.metrics.Metric):
        def __init__(self, name="positives", **options):
            super().__init__(name=name, **options)
            self.count = self.add_weight(shape=(), initializer="zeros", name="count")

        def update_state(self, y, p, sample_weight=None):
            self.count.assign(self.count + keras.ops.sum(keras.ops.cast(p > 0.5, self.dtype)))

        def result(self):
            return self.count

    def build(context):
        keras.utils.set_random_seed(1)
        inputs = {"x": keras.Input((8,), name="x")}
        model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs["x"]))
        model.compile("sgd", "binary_crossentropy", metrics=[Positives()])
        return model

    result = ours(data, tmp_path, build)
    answers = result.model.predict({"x": data.columns["x"]}, verbose=0)
    assert result.eval_metrics["positives"] == (answers > 0.5).sum() > 0
