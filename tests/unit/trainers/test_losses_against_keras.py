"""Losses that are not a plain mean, and gradients with duplicate ids: the update is Keras's, however the batch is cut."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from engine import ConfigError
from tests.support.models import classification_columns
from trainers import ArrayDataset, Trainer, TrainerConfig

STEPS = 8


@pytest.fixture(scope="module")
def data() -> ArrayDataset:
    columns = classification_columns()
    weight = np.random.default_rng(3).uniform(0.5, 2.0, 640).astype(np.float32)
    return ArrayDataset({**columns, "w": weight})


@pytest.fixture(scope="module")
def batches(data):
    feed = data.feed(global_batch_size=64)
    return [
        ({"x": b["x"].numpy()}, b["y"].numpy(), b["w"].numpy()) for b in feed.dataset().take(STEPS).map(feed.unpack)
    ]


def model_with(reduction, rate=0.1, penalty=True):
    def build(context=None):
        import keras

        keras.utils.set_random_seed(1)
        inputs = {"x": keras.Input((8,), name="x")}
        regularizer = keras.regularizers.L2(0.1) if penalty else None
        output = keras.layers.Dense(1, activation="sigmoid", kernel_regularizer=regularizer)(inputs["x"])
        model = keras.Model(inputs, output)
        model.compile(keras.optimizers.SGD(rate), keras.losses.BinaryCrossentropy(reduction=reduction))
        return model

    return build


def ours(data, tmp_path, build, **changes):
    settings = {"label": "y", "global_batch_size": 64, "steps": STEPS, "steps_per_call": 4, "tensorboard": False}
    return Trainer(TrainerConfig(directory=str(tmp_path), **{**settings, **changes}), build, data, eval=data).fit()


def apart(left, right) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(left.get_weights(), right.get_weights()))


@pytest.mark.parametrize("reduction", ["sum", "mean_with_sample_weight", "sum_over_batch_size"])
def test_loss_reduction_equals_keras_whole_and_in_slices(data, batches, tmp_path, reduction):
    build = model_with(reduction, rate=0.1 / (64 if reduction == "sum" else 1))
    keras_model = build()
    for x, y, w in batches:
        keras_model.train_on_batch(x, y, sample_weight=w)
    # 192 does not divide 640: the last batch of the evaluation is padded.
    whole = ours(data, tmp_path / "1", build, weight="w", eval_batch_size=192)
    slices = ours(data, tmp_path / "4", build, weight="w", accumulate_steps=4)
    assert apart(whole.model, keras_model) < 2e-6
    assert apart(slices.model, keras_model) < 2e-6
    loss = keras_model.evaluate(
        {"x": data.columns["x"]}, data.columns["y"], sample_weight=data.columns["w"], batch_size=192, verbose=0
    )
    assert whole.eval_metrics["loss"] == pytest.approx(loss, rel=1e-5)


def test_clip_norm_counts_the_rows_of_one_id_together(data, tmp_path):
    def build(context):
        import keras

        keras.utils.set_random_seed(1)
        inputs = {"c": keras.Input((), dtype="int64", name="c")}
        same = keras.layers.Lambda(lambda t: t * 0)(keras.layers.Reshape((1,))(inputs["c"]))
        table = keras.layers.Embedding(2, 4, embeddings_initializer="ones", name="table")
        output = keras.layers.Dense(1, kernel_initializer="ones", trainable=False)(keras.layers.Flatten()(table(same)))
        model = keras.Model(inputs, output)
        model.compile(keras.optimizers.SGD(1.0), "mse")
        return model

    result = ours(data, tmp_path, build, steps=1, steps_per_call=1, clip_norm=0.01)
    step = result.model.get_layer("table").get_weights()[0] - 1.0
    assert np.linalg.norm(step) == pytest.approx(0.01, rel=1e-4)


def test_losses_that_differ_in_reduction_refuse_to_be_cut(data, tmp_path):
    def build(context):
        import keras

        inputs = {"x": keras.Input((8,), name="x")}
        heads = {"y": keras.layers.Dense(1, name="y")(inputs["x"]), "w": keras.layers.Dense(1, name="w")(inputs["x"])}
        model = keras.Model(inputs, heads)
        losses = keras.losses.MeanSquaredError
        model.compile("sgd", {"y": losses(reduction="sum"), "w": losses()})
        return model

    assert ours(data, tmp_path / "1", build, label=["y", "w"]).steps == STEPS
    with pytest.raises(ValueError, match="differ in their reduction"):
        ours(data, tmp_path / "2", build, label=["y", "w"], accumulate_steps=2)


def test_batch_norm_in_slices_is_said(data, tmp_path, capfd):
    from tests.support.models import build_keras3

    ours(data, tmp_path, build_keras3, accumulate_steps=2)
    assert "batch_normalization" in (said := capfd.readouterr().err) and "each slice by its own mean" in said


def layers_that_add_losses(context=None):
    import keras

    keras.utils.set_random_seed(1)
    inputs = {"x": keras.Input((8,), name="x")}
    hidden = keras.layers.Dense(8, "tanh", activity_regularizer=keras.regularizers.L2(0.3))(inputs["x"])
    output = keras.layers.Dense(1, "sigmoid", kernel_regularizer=keras.regularizers.L2(0.1))(hidden)
    model = keras.Model(inputs, output)
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    return model


def test_losses_that_layers_add_count_with_the_rows_of_their_batch(data, tmp_path):
    result = ours(data, tmp_path, layers_that_add_losses, eval_batch_size=192)
    x, y = {"x": data.columns["x"]}, data.columns["y"]
    loss = result.model.evaluate(x, y, batch_size=192, verbose=0)
    assert result.eval_metrics["loss"] == pytest.approx(loss, rel=1e-5)
    last = result.model.evaluate({"x": x["x"][576:]}, y[576:], batch_size=64, verbose=0)
    assert abs(last - loss) > 1e-3  # the last batch alone, or its padding, says something else


@pytest.fixture(scope="module")
def tokens() -> ArrayDataset:
    """Lists of 1 to 6 tokens, padded with 0 behind, and a label a token."""
    rng = np.random.default_rng(5)
    words = rng.integers(1, 20, (200, 6))
    words[np.arange(6) >= rng.integers(1, 7, (200, 1))] = 0
    return ArrayDataset({"words": words, "tags": (words % 3 == 0).astype(np.float32)[:, :, None]})


def masked(outputs=1):
    def build(context=None):
        import keras

        keras.utils.set_random_seed(1)
        inputs = {"words": keras.Input((6,), name="words", dtype="int64")}
        hidden = keras.layers.Embedding(20, 4, mask_zero=True)(inputs["words"])
        tags = [keras.layers.Dense(1, "sigmoid", name=f"tags{i}")(hidden) for i in range(outputs)]
        model = keras.Model(inputs, tags[0] if outputs == 1 else tags)
        losses = "binary_crossentropy"
        model.compile(keras.optimizers.SGD(1.0), losses if outputs == 1 else [losses] * outputs)
        return model

    return build


def test_masked_mean_equals_keras_in_slices_and_in_a_padded_evaluation(tokens, tmp_path):
    keras_model = masked()()
    for batch in tokens.feed(global_batch_size=40).dataset().take(STEPS).map(tokens.feed(global_batch_size=40).unpack):
        keras_model.train_on_batch({"words": batch["words"].numpy()}, batch["tags"].numpy())
    settings = {"label": "tags", "global_batch_size": 40, "eval_batch_size": 64}  # which leaves 8 for the last batch
    for slices in (1, 4):
        result = ours(tokens, tmp_path / str(slices), masked(), accumulate_steps=slices, **settings)
        assert apart(result.model, keras_model) < 2e-6
        x, y = {"words": tokens.columns["words"]}, tokens.columns["tags"]
        loss = keras_model.evaluate(x, y, batch_size=64, verbose=0)
        assert result.eval_metrics["loss"] == pytest.approx(loss, rel=1e-5)


def test_several_masked_losses_refuse_to_be_cut(tokens, tmp_path):
    build = masked(outputs=2)
    columns = {"words": tokens.columns["words"], "tags0": tokens.columns["tags"], "tags1": tokens.columns["tags"]}
    settings = {"label": ["tags0", "tags1"], "global_batch_size": 40}
    with pytest.raises(ConfigError, match=r"accumulate_steps: the model's output is masked"):
        ours(ArrayDataset(columns), tmp_path, build, accumulate_steps=2, **settings)


@pytest.mark.parametrize("reduction", ["mean_with_sample_weight", "sum_over_batch_size"])
def test_masked_mean_in_slices_is_that_of_the_whole_batch(tokens, tmp_path, reduction):
    def build(context=None):
        import keras

        model = masked()()
        model.compile(keras.optimizers.SGD(1.0), keras.losses.BinaryCrossentropy(reduction=reduction))
        return model

    words, tags = tokens.columns["words"].copy(), tokens.columns["tags"]
    feed = tokens.feed(global_batch_size=40)
    words[:160] = 0  # of some slices nothing is left
    sparse = ArrayDataset({"words": words, "tags": tags})
    feed = sparse.feed(global_batch_size=40)
    keras_model = build()
    for batch in feed.dataset().take(STEPS).map(feed.unpack):
        keras_model.train_on_batch({"words": batch["words"].numpy()}, batch["tags"].numpy())
    expected = keras_model.evaluate({"words": words}, tags, batch_size=64, verbose=0)
    settings = {"label": "tags", "global_batch_size": 40, "eval_batch_size": 64}
    result = ours(sparse, tmp_path, build, accumulate_steps=20, **settings)
    assert apart(result.model, keras_model) < 2e-6
    assert result.eval_metrics["loss"] == pytest.approx(expected, rel=1e-5)


def test_only_the_mask_of_an_output_with_a_loss_counts(tokens, tmp_path):
    def build(context=None):
        model = masked(outputs=2)()
        model.compile("sgd", ["binary_crossentropy", None])
        return model

    whole, slices = (
        ours(tokens, tmp_path / str(n), build, label="tags", global_batch_size=40, accumulate_steps=n) for n in (1, 4)
    )
    assert apart(whole.model, slices.model) < 2e-6


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_labels_that_a_loss_ignores_are_not_counted(tokens, tmp_path, library):
    def build(context=None):
        kit = importlib.import_module(library)
        kit.utils.set_random_seed(1)
        inputs = {"words": kit.Input((6,), name="words", dtype="int64")}
        output = kit.layers.Dense(3, "softmax")(kit.layers.Embedding(20, 4)(inputs["words"]))
        model = kit.Model(inputs, output)
        model.compile(kit.optimizers.SGD(1.0), kit.losses.SparseCategoricalCrossentropy(ignore_class=0))
        return model

    words = tokens.columns["words"]
    classes = ArrayDataset({"words": words, "tags": np.where(words == 0, 0, 1 + words % 2)})
    settings = {"label": "tags", "global_batch_size": 40, "eval_batch_size": 64}  # which leaves 8 for the last batch
    result = ours(classes, tmp_path / "1", build, **settings)
    loss = result.model.evaluate({"words": words}, classes.columns["tags"], batch_size=64, verbose=0)
    assert result.eval_metrics["loss"] == pytest.approx(loss, rel=1e-5)
    for name, xla in (("2", False), ("3", True)):
        with pytest.raises(ConfigError, match="accumulate_steps: a loss leaves steps out itself"):
            ours(classes, tmp_path / name, build, accumulate_steps=2, xla=xla, **settings)


def two_heads(context=None):
    import keras

    keras.utils.set_random_seed(1)
    inputs = {"x": keras.Input((8,), name="x")}
    heads = {
        "y": keras.layers.Dense(1, "sigmoid", name="y")(inputs["x"]),
        "w": keras.layers.Dense(1, name="w")(inputs["x"]),
    }
    model = keras.Model(inputs, heads)
    model.compile("sgd", {"y": "binary_crossentropy", "w": "mse"}, loss_weights={"y": 0.5, "w": 2.0})
    return model


def test_the_loss_of_each_output_is_a_mean_without_the_padding(data, tmp_path):
    result = ours(data, tmp_path, two_heads, label=["y", "w"], eval_batch_size=192)
    labels = {"y": data.columns["y"], "w": data.columns["w"]}
    expected = result.model.evaluate({"x": data.columns["x"]}, labels, batch_size=192, verbose=0, return_dict=True)
    assert {name: result.eval_metrics[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert "y_loss" in expected


def counts_a_mean(kit, name, counted):
    """Returns a layer with a metric of its own: the mean of `counted` of what it is called with."""

    class Counts(kit.layers.Layer):
        def __init__(self):
            super().__init__()
            self.mean = kit.metrics.Mean(name=name)

        def call(self, x):
            self.mean.update_state(counted(x))
            return x

    return Counts()


def layer_that_counts_a_mean(library):
    import tensorflow as tf

    kit = importlib.import_module(library)
    inputs = {"x": kit.Input((8,), name="x")}
    layer = counts_a_mean(kit, "mean", tf.reduce_mean)
    model = kit.Model(inputs, kit.layers.Dense(1, "sigmoid")(layer(inputs["x"])))
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (two_heads, ["y", "w"]),
        (lambda: layer_that_counts_a_mean("keras"), ["y"]),
        (lambda: layer_that_counts_a_mean("tf_keras"), ["y"]),
    ],
    ids=["losses of two outputs", "mean in a layer", "mean in a layer of tf_keras"],
)
def test_replica_that_has_padding_alone_counts_nothing(data, model, names):
    import tensorflow as tf

    from trainers.models.adapters import adapt

    adapter = adapt(model())
    x = {"x": tf.constant(data.columns["x"][:64])}
    labels = {name: tf.constant(data.columns[name][:64]) for name in names}
    labels = labels if len(names) > 1 else labels[names[0]]
    adapter.prepare(x, labels, None)
    evaluate = tf.function(lambda mask: adapter.evaluate(x, labels, None, mask), autograph=False)
    found = []
    for real in (True, False):
        evaluate(tf.fill([64], real))
        found.append(adapter.metric_results([v.numpy() for v in adapter.metric_variables]))
    expected = adapter.model.evaluate(x, labels, batch_size=64, verbose=0, return_dict=True)
    name = "y_loss" if len(names) > 1 else "mean"
    assert found[0][name] == found[1][name] == pytest.approx(expected[name], rel=1e-5)
    assert found[0] == found[1]


def root_of_mean(kit):
    """A loss function that makes one number of all the rows that it is shown."""
    import tensorflow as tf

    def rmse(y, p):
        return tf.sqrt(tf.reduce_mean(tf.square(tf.cast(y, tf.float32) - p)))

    return {"loss": rmse}


def test_loss_that_makes_one_number_is_known_again_in_another_model(data):
    import keras
    import tensorflow as tf

    from trainers.models.adapters import adapt
    from trainers.models.adapters.loss_reduction import returning_a_vector

    class Rmse(keras.losses.Loss):
        def call(self, y, p):
            return tf.sqrt(tf.reduce_mean(tf.square(tf.cast(y, tf.float32) - p)))

    loss = Rmse(name="rmse")
    loss.call = returning_a_vector(loss.call)  # as on several replicas
    model = model_with("sum")()
    model.compile("sgd", loss)
    adapter = adapt(model)
    adapter.prepare({"x": tf.constant(data.columns["x"][:8])}, tf.constant(data.columns["y"][:8]), None)
    assert adapter.losses_of_whole_batches == ["rmse"]
    assert loss.call(tf.zeros([4, 1]), tf.ones([4, 1])).shape.rank == 0


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_one_loss_may_be_that_of_two_outputs(data, tmp_path, library):
    import tensorflow as tf

    kit = importlib.import_module(library)

    class Squares(kit.losses.Loss):
        def call(self, y, p):
            return tf.reduce_mean(tf.square(tf.cast(tf.reshape(y, (-1, 1)), tf.float32) - p), axis=-1)

    def build(context):
        loss, inputs = Squares(), {"x": kit.Input((8,), name="x")}
        heads = {name: kit.layers.Dense(1, name=name)(inputs["x"]) for name in ("y", "w")}
        model = kit.Model(inputs, heads)
        model.compile("sgd", {"y": loss, "w": loss})
        return model

    assert ours(data, tmp_path, build, label=["y", "w"]).steps == STEPS


def metrics_of_layers(kit):
    import tensorflow as tf

    class Largest(kit.metrics.Metric):
        """Has state, a result of two numbers, and no get_config that makes it again."""

        def __init__(self, limit, name="largest"):
            super().__init__(name=name)
            self.limit = limit
            self.rows = self.add_weight(name="rows", initializer="zeros")

        def update_state(self, y, p, sample_weight=None):
            self.rows.assign_add(tf.reduce_sum(tf.cast(p > self.limit, tf.float32)))

        def result(self):
            return {"above": self.rows + 0.0, "double": self.rows * 2}

    return {"loss": "mse", "metrics": [Largest(0.5)]}


def overlap(kit):  # Keras's own losses of whole batches, which tf_keras does not have
    return {"loss": kit.losses.Tversky(alpha=0.3)}


@pytest.mark.parametrize(
    ("library", "compiled"),
    [(kit, loss) for kit in ("keras", "tf_keras") for loss in (root_of_mean, metrics_of_layers)] + [("keras", overlap)],
)
def test_evaluation_counts_no_padding_in_what_knows_no_weights(data, tmp_path, library, compiled):
    import tensorflow as tf

    kit = importlib.import_module(library)

    def build(context=None):
        kit.utils.set_random_seed(1)
        inputs = {"x": kit.Input((8,), name="x")}
        layer = counts_a_mean(kit, "spread", lambda x: x[:, 0] + 3.0) if compiled is metrics_of_layers else lambda x: x
        hidden = layer(inputs["x"])
        model = kit.Model(inputs, kit.layers.Dense(1, "sigmoid")(hidden))
        model.compile(kit.optimizers.SGD(0.1), **compiled(kit))
        return model

    # 192 does not divide 640: the last batch of the evaluation is padded.
    result = ours(data, tmp_path, build, eval_batch_size=192)
    model, x = result.model, {"x": data.columns["x"]}
    expected = model.evaluate(x, data.columns["y"], batch_size=192, verbose=0, return_dict=True)
    expected = {
        k: v for name, part in expected.items() for k, v in (part if isinstance(part, dict) else {name: part}).items()
    }
    assert {name: result.eval_metrics[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert ("spread" in expected) == (compiled is metrics_of_layers)
    assert tf.math.is_finite(expected["loss"])
