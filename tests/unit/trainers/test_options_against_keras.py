"""Each option of training against Keras's own, on the same batches: it fails where the option is ignored."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest

from tests.support.models import classification_columns
from trainers import ArrayDataset, LearningRate, Trainer, TrainerConfig

STEPS = 20


def build(context=None, **optimizer):
    import keras

    keras.utils.set_random_seed(1)
    inputs = {"x": keras.Input((8,), name="x")}
    hidden = keras.layers.Dense(8, activation="tanh")(inputs["x"])
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid", dtype="float32")(hidden))
    model.compile(
        keras.optimizers.SGD(**{"learning_rate": 0.1, "momentum": 0.9, **optimizer}),
        "binary_crossentropy",
        metrics=["accuracy"],
    )
    return model


@pytest.fixture(scope="module")
def data() -> ArrayDataset:
    return ArrayDataset(classification_columns())


@pytest.fixture(scope="module")
def batches(data):
    feed = data.feed(global_batch_size=32)
    return [({"x": b["x"].numpy()}, b["y"].numpy()) for b in feed.dataset().take(STEPS).map(feed.unpack)]


@pytest.fixture(scope="module")
def plain(batches):
    return keras_run(batches).get_weights()


def keras_run(batches, class_weight=None, each=lambda model: None, **optimizer):
    model = build(**optimizer)
    for x, y in batches:
        model.train_on_batch(x, y, class_weight=class_weight)
        each(model)
    return model


def ours(data, tmp_path, model=build, **changes):
    settings = {"label": "y", "global_batch_size": 32, "epochs": 1, "steps_per_call": 5, "tensorboard": False}
    return Trainer(TrainerConfig(directory=str(tmp_path), **{**settings, **changes}), model, data, eval=data).fit()


def apart(left, right) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(left, right))


def check(result, expected, plain):
    """The weights are Keras's with the option, and not those without it."""
    assert apart(result.model.get_weights(), expected) < 2e-5
    assert apart(expected, plain) > 1e-3


def test_no_option_equals_keras(data, batches, plain, tmp_path):
    assert apart(ours(data, tmp_path).model.get_weights(), plain) < 2e-6


def test_class_weights_weigh_training_as_keras_does_and_not_the_evaluation(data, batches, plain, tmp_path):
    weights = {0: 1.0, 1: 3.0}
    model = keras_run(batches, class_weight=weights)
    result = ours(data, tmp_path, class_weights=weights)
    check(result, model.get_weights(), plain)
    loss, _ = model.evaluate({"x": data.columns["x"]}, data.columns["y"], verbose=0, batch_size=640)
    assert result.eval_metrics["loss"] == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("kind", ["soft", "one column a class"])
def test_class_weights_of_labels_that_are_no_whole_numbers(data, plain, tmp_path, kind):
    import keras

    y = data.columns["y"].reshape(-1, 1)
    labels = np.clip(y, 0.1, 0.9) if kind == "soft" else np.hstack([1 - y, y])

    def two(context=None):
        keras.utils.set_random_seed(1)
        inputs = {"x": keras.Input((8,), name="x")}
        width = labels.shape[1]
        model = keras.Model(inputs, keras.layers.Dense(width, "sigmoid" if width == 1 else "softmax")(inputs["x"]))
        model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy" if width == 1 else "categorical_crossentropy")
        return model

    own = ArrayDataset({"x": data.columns["x"], "y": labels.astype(np.float32)})
    weights, feed = {0: 1.0, 1: 3.0}, own.feed(global_batch_size=32)
    models = [two(), two()]
    for batch in feed.dataset().take(STEPS).map(feed.unpack):
        for model, given in zip(models, (weights, None)):
            model.train_on_batch({"x": batch["x"].numpy()}, batch["y"].numpy(), class_weight=given)
    result = ours(own, tmp_path, two, class_weights=weights)
    check(result, models[0].get_weights(), models[1].get_weights())


def test_clip_norm_equals_keras_global_clipnorm(data, batches, plain, tmp_path):
    check(ours(data, tmp_path, clip_norm=0.05), keras_run(batches, global_clipnorm=0.05).get_weights(), plain)


def test_learning_rate_cosine_equals_a_keras_schedule(data, batches, plain, tmp_path):
    import keras
    import tensorflow as tf

    class Cosine(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            step = tf.cast(step, tf.float32)
            done = tf.clip_by_value((step - 5) / 15.0, 0.0, 1.0)
            return tf.where(step < 5, 0.2 * (step + 1) / 5, 0.2 * 0.5 * (1 + tf.cos(math.pi * done)))

    result = ours(data, tmp_path, learning_rate=LearningRate(peak=0.2, warmup_steps=5, decay="cosine"))
    check(result, keras_run(batches, learning_rate=Cosine()).get_weights(), plain)


def test_ema_decay_averages_the_weights(data, batches, plain, tmp_path):
    average = [w.copy() for w in build().get_weights()]

    def each(model):
        for a, w in zip(average, model.get_weights()):
            a[...] = 0.9 * a + 0.1 * w

    keras_run(batches, each=each)
    check(ours(data, tmp_path, ema_decay=0.9), average, plain)


def test_optimizer_use_ema_ends_with_the_averages_as_keras_fit_does(data, batches, plain, tmp_path):
    model = keras_run(batches, use_ema=True, ema_momentum=0.9)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    result = ours(data, tmp_path, lambda context: build(use_ema=True, ema_momentum=0.9))
    check(result, model.get_weights(), plain)
    loss, _ = model.evaluate({"x": data.columns["x"]}, data.columns["y"], verbose=0, batch_size=640)
    assert result.eval_metrics["loss"] == pytest.approx(loss, abs=1e-5)
    from trainers.export.from_checkpoint import rebuild_model

    rebuilt, _ = rebuild_model(str(tmp_path), lambda context: build(), None, feature_spec=dict(data.feature_spec()))
    assert apart(rebuilt.get_weights(), model.get_weights()) < 2e-5


def watched(look):
    """Returns a build_model with a layer that calls `look` on its input while it is traced."""
    import keras

    class Spy(keras.layers.Layer):
        def call(self, x):
            return look(x)

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, x.dtype)

    def model(context):
        keras.utils.set_random_seed(1)
        inputs = {"x": keras.Input((8,), name="x")}
        hidden = keras.layers.Dense(8, activation="tanh")(Spy()(inputs["x"]))
        made = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid", dtype="float32")(hidden))
        made.compile(keras.optimizers.SGD(0.1, momentum=0.9), "binary_crossentropy", metrics=["accuracy"])
        return made

    return model


def test_accumulate_steps_cuts_the_batch_and_equals_keras_on_the_whole_batch(data, plain, tmp_path):
    sizes = []
    result = ours(data, tmp_path, watched(lambda x: (sizes.append(x.shape[0]), x)[1]), accumulate_steps=4)
    assert apart(result.model.get_weights(), plain) < 2e-5
    assert 8 in sizes


def test_xla_equals_keras_and_refuses_what_xla_cannot_compile(data, plain, tmp_path):
    import tensorflow as tf

    assert apart(ours(data, tmp_path / "xla", xla=True).model.get_weights(), plain) < 2e-5
    python = watched(lambda x: tf.ensure_shape(tf.numpy_function(lambda v: v, [x], tf.float32), x.shape))
    with pytest.raises(tf.errors.OpError, match=r"XLA|compil"):
        ours(data, tmp_path / "python", python, xla=True)


def test_deterministic_refuses_what_is_not_and_false_allows_it(data, tmp_path):
    import tensorflow as tf
    from tensorflow.python.framework import config

    clock = watched(lambda x: x + 0.0 * tf.cast(tf.timestamp(), tf.float32))
    config.disable_op_determinism()
    try:
        ours(data, tmp_path / "free", clock, deterministic=False)
        with pytest.raises(tf.errors.OpError, match="determinis"):
            ours(data, tmp_path / "strict", clock)
    finally:
        tf.config.experimental.enable_op_determinism()


def test_mixed_bfloat16_equals_keras_under_its_policy(data, batches, plain, tmp_path):
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        expected = keras_run(batches).get_weights()
    finally:
        keras.config.set_dtype_policy(before)
    result = ours(data, tmp_path, precision="mixed_bfloat16")
    assert [layer.dtype_policy.name for layer in result.model.layers[1:]] == ["mixed_bfloat16", "float32"]
    assert apart(result.model.get_weights(), expected) < 2e-3
    assert apart(result.model.get_weights(), plain) > 1e-4


def build_normalised(context=None):
    import keras

    keras.utils.set_random_seed(1)
    inputs = {"x": keras.Input((8,), name="x")}
    hidden = keras.layers.BatchNormalization(momentum=0.5)(keras.layers.Dense(8)(inputs["x"]))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    return model


def test_batch_norm_under_accumulate_steps_is_what_the_note_says(data, batches, tmp_path, capfd):
    import tensorflow as tf

    model = build_normalised()
    for x, y in batches:
        halves = []
        for half in (slice(0, 16), slice(16, 32)):
            with tf.GradientTape() as tape:
                answers = model({"x": x["x"][half]}, training=True)  # moves the averages, once a half
                loss = model.compute_loss(y=y[half], y_pred=answers)
            halves.append(tape.gradient(loss, [v.value for v in model.trainable_variables]))
        model.optimizer.apply([(a + b) / 2 for a, b in zip(*halves)], model.trainable_variables)
    capfd.readouterr()
    result = ours(data, tmp_path, model=build_normalised, accumulate_steps=2)
    assert apart(result.model.get_weights(), model.get_weights()) < 2e-5
    said = capfd.readouterr().err
    assert "normalises each slice by its own mean and variance, and moves its averages 2 times a step" in said
    whole = build_normalised()
    for x, y in batches:
        whole.train_on_batch(x, y)
    assert apart(whole.get_weights(), model.get_weights()) > 1e-3


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_labels_go_in_their_order_with_outputs_that_have_no_names_of_labels(data, tmp_path, capfd, library):
    kit = importlib.import_module(library)
    said = library == "tf_keras"  # whose model has names of outputs

    class TwoHeads(kit.Model):
        def __init__(self):
            super().__init__()
            self.heads = [kit.layers.Dense(1, "sigmoid"), kit.layers.Dense(1)]

        def call(self, features, training=None):
            return tuple(head(features["x"]) for head in self.heads)

    def two_heads(context=None):
        kit.utils.set_random_seed(1)
        inputs = {"x": kit.layers.Input((8,), name="x")}
        heads = [kit.layers.Dense(1, "sigmoid", name="p")(inputs["x"]), kit.layers.Dense(1, name="q")(inputs["x"])]
        model = kit.Model(inputs, heads) if said else TwoHeads()
        model.compile(kit.optimizers.SGD(0.1), ["binary_crossentropy", "mse"], metrics=[["accuracy"], ["mae"]])
        return model

    result = ours(data, tmp_path, two_heads, label=["y", "c"], features=["x"], epochs=None, steps=2, steps_per_call=1)
    theirs, feed = two_heads(), data.feed(global_batch_size=32)
    for batch in feed.dataset().take(2).map(feed.unpack):
        theirs.train_on_batch({"x": batch["x"].numpy()}, [batch["y"].numpy(), batch["c"].numpy()])
    assert apart(result.model.get_weights(), theirs.get_weights()) < 2e-6
    x, *labels = ({"x": data.columns["x"]}, data.columns["y"], data.columns["c"])
    expected = theirs.evaluate(x, labels, verbose=0, return_dict=True, batch_size=32)
    assert {name: result.eval_metrics[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert ("in their order, 'y' with 'p', 'c' with 'q'" in capfd.readouterr().err) == said
