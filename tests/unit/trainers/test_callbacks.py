"""Callbacks of our own and Keras's; the oracle for the latter is Keras's own fit."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from engine.core.errors import ConfigError
from engine.dataset.arrays import ArrayDataset
from tests.support.models import build_dense, classification_columns
from trainers import CheckpointConfig, Trainer, TrainerConfig
from trainers.callbacks import Callback

_STEPS_PER_EPOCH = 20


@pytest.fixture(scope="module")
def data() -> ArrayDataset:
    return ArrayDataset(classification_columns())


def fit(data, directory, callbacks, build=build_dense, **changes):
    settings = {"label": "y", "global_batch_size": 32, "epochs": 6, "steps_per_call": 10, "tensorboard": False}
    config = TrainerConfig(directory=str(directory), log_every_steps=10, **{**settings, **changes})
    return Trainer(config, build, data, eval=data, callbacks=callbacks).fit()


def keras_fit(data, callbacks, epochs=6):
    """Keras's own fit on the same batches."""
    model = build_dense(None)
    feed = data.feed(global_batch_size=32)
    batches = feed.dataset().take(_STEPS_PER_EPOCH * epochs).map(feed.unpack).map(lambda b: ({"x": b["x"]}, b["y"]))
    evaluation = ({"x": data.columns["x"]}, data.columns["y"])
    return model, model.fit(
        batches,
        epochs=epochs,
        steps_per_epoch=_STEPS_PER_EPOCH,
        validation_data=evaluation,
        verbose=0,
        callbacks=callbacks,
    )


class Fails(Callback):
    def on_call(self, run, loss):
        if run.step == 50:
            raise RuntimeError("the machine is gone")


def test_best_weights_and_rates_of_keras_survive_a_restart(data, tmp_path):
    import keras

    def go_on(name, *more):
        stopping = keras.callbacks.EarlyStopping("val_loss", mode="max", patience=3, restore_best_weights=True)
        every = CheckpointConfig(every_steps=20, asynchronous=False)
        halving = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
        return fit(data, tmp_path / name, [stopping, halving, *more], checkpoint=every)

    whole = go_on("whole")
    with pytest.raises(RuntimeError, match="the machine is gone"):
        go_on("cut", Fails())
    resumed = go_on("cut")
    assert resumed.resumed_from == 40 and resumed.steps == whole.steps == 80  # the first of four epochs was the best
    for mine, theirs in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    rates = [float(each.model.optimizer.learning_rate) for each in (whole, resumed)]
    assert rates == pytest.approx([0.1 / 2**4] * 2)


def _started(callbacks, state, weights=(), rate=0.1):
    """Keras's callbacks once a run went on from this state."""
    from trainers.callbacks import TrainingRun
    from trainers.callbacks.keras_bridge import KerasCallbacks

    model = build_dense(None)
    model.optimizer.learning_rate = rate
    bridge = KerasCallbacks(callbacks, model, 1)
    bridge.set_weights(weights)
    bridge.set_state(state)
    bridge.on_start(TrainingRun(model, None, 100, 20, 40))
    return model


@pytest.mark.parametrize("begun", [{"begun": True}, {}], ids=["now", "by an earlier version"])
def test_rate_of_a_scheduler_that_is_new_in_a_run_that_goes_on_is_kept(begun):
    import keras

    plateau, scheduler = keras.callbacks.ReduceLROnPlateau(), keras.callbacks.LearningRateScheduler(lambda epoch: 0.03)
    state = {"epoch": 2, **begun, "callbacks": [["ReduceLROnPlateau", {"wait": 1.0}]]}
    assert float(_started([plateau, scheduler], state).optimizer.learning_rate) == pytest.approx(0.03)
    assert plateau.wait == 1
    known = {**state, "callbacks": [*state["callbacks"], ["LearningRateScheduler", {}]]}
    assert float(_started([plateau, scheduler], known).optimizer.learning_rate) == pytest.approx(0.1)
    more = [plateau, scheduler, keras.callbacks.TerminateOnNaN()]  # which has nothing to do with the rate
    assert float(_started(more, known).optimizer.learning_rate) == pytest.approx(0.1)


def test_best_value_of_keras_without_its_weights_is_counted_anew_and_said(capfd):
    import keras

    numbers = {"best": 0.1, "best_epoch": 1.0, "stopped_epoch": 0.0, "wait": 2.0}
    state = {"epoch": 4, "callbacks": [["EarlyStopping", numbers]]}
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True)
    _started([stopping], state)
    assert (stopping.best != 0.1, stopping.wait, stopping.best_weights) == (True, 0, None)
    assert "EarlyStopping: the checkpoint has no weights of the best epoch" in capfd.readouterr().err
    _started([stopping], state, weights=[("0/0", np.zeros(3))])
    assert (stopping.best, stopping.wait, len(stopping.best_weights)) == (0.1, 2, 1)
    plain = keras.callbacks.EarlyStopping("val_loss", patience=3)
    _started([plain], state)
    assert (plain.best, plain.wait) == (0.1, 2) and "no weights" not in capfd.readouterr().err


def _counted(callbacks, **numbers):
    """The state that a checkpoint has of Keras's callbacks, the first of which counted these numbers."""
    from trainers.callbacks.keras_bridge import KerasCallbacks

    vars(callbacks[0]).update(numbers)
    return KerasCallbacks(callbacks, build_dense(None), 1).get_state()


def test_callbacks_that_came_between_two_runs_leave_each_its_own_state():
    import keras

    stopping = keras.callbacks.EarlyStopping
    state = _counted([stopping("val_loss", patience=5), stopping("val_auc", patience=5)], best=0.25, wait=4)
    other, tuned = stopping("val_auc", patience=5), stopping("val_loss", patience=9)
    plateau, twin = keras.callbacks.ReduceLROnPlateau("val_loss"), stopping("val_loss", patience=2)
    _started([plateau, other, tuned, twin], state)
    assert (tuned.best, tuned.wait) == (0.25, 4), "the same one with more patience, wherever it stands"
    assert (other.wait, plateau.wait, twin.wait) == (0, 0, 0), "and no other one has what it counted"
    beside, same = stopping("val_loss", patience=2), stopping("val_loss", patience=5)
    _started([beside, same], state)
    assert (beside.wait, same.wait) == (0, 4), "one with the same settings goes first"
    old = {**state, "callbacks": [each[:2] for each in state["callbacks"]]}  # by an earlier version
    _started([plateau, same], old)
    assert same.wait == 4


def test_callback_of_the_users_own_may_keep_anything_under_the_names_of_counters():
    import keras

    class Mine(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.best, self.wait, self.best_epoch = {"auc": 0.5}, "long", np.array([1, 2])

    assert _counted([Mine()])["callbacks"] == [["Mine", {}, {}]]


def _group(callbacks):
    from trainers.callbacks import TrainingRun
    from trainers.callbacks.group import CallbackGroup
    from trainers.strategies import create_placement

    return CallbackGroup(callbacks, TrainingRun(None, None, 10, 5, 0), create_placement("one_device", {}), None)


def _named(*names):
    callbacks = [Recorder() for _ in names]
    for callback, name in zip(callbacks, names):
        callback.name = name
    return callbacks


def test_own_callbacks_of_one_class_are_told_apart_by_their_names():
    before, after = _named("", "a"), _named("b", "a", "")
    before[0].total, before[1].total = 1, 2
    _group(after).start(_group(before).get_states(), {})
    assert [each.total for each in after] == [0, 2, 1]


def test_own_callbacks_that_a_checkpoint_knows_by_their_class_alone_have_its_state():
    class Named(Recorder):
        def name(self):
            return "one"

    first, second = _named("first", "second")
    callbacks = [first, Named(), second]
    group = _group(callbacks)
    assert [identity for identity, _ in group.get_states()] == ["Recorder:first", "Named", "Recorder:second"]
    group.start([["Recorder", {"total": 1}], ["Recorder:second", {"total": 2}], ["Named", {"total": 3}]], {})
    assert [each.total for each in callbacks] == [1, 3, 2]


def test_keras_callbacks_stop_and_lower_the_rate_where_keras_does(data, tmp_path):
    import keras

    def callbacks(name):
        return [
            keras.callbacks.ReduceLROnPlateau(monitor="val_loss", min_delta=0.05, patience=1, factor=0.5),
            keras.callbacks.EarlyStopping(monitor="val_loss", min_delta=0.02, patience=2, restore_best_weights=True),
            keras.callbacks.CSVLogger(str(tmp_path / name)),
        ]

    ours = fit(data, tmp_path / "run", callbacks("ours.csv"))
    model, history = keras_fit(data, callbacks("theirs.csv"))
    assert ours.stopped_early and ours.steps == _STEPS_PER_EPOCH * len(history.epoch) < 120
    for mine, theirs in zip(ours.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    rows = [list(csv.DictReader((tmp_path / name).read_text().splitlines())) for name in ("ours.csv", "theirs.csv")]
    for mine, theirs in zip(*rows, strict=True):
        for key in ("epoch", "val_loss", "val_accuracy"):
            assert float(mine[key]) == pytest.approx(float(theirs[key]), rel=1e-4)
    assert any(float(row["learning_rate"]) < 0.1 for row in rows[0]), "the rate was lowered"


def test_keras_callbacks_write_models_logs_and_call_lambdas(data, tmp_path):
    import keras

    seen = []
    best = tmp_path / "best-{epoch}.keras"
    callbacks = [
        keras.callbacks.ModelCheckpoint(str(best), monitor="val_accuracy", save_best_only=True, mode="max"),
        keras.callbacks.TensorBoard(str(tmp_path / "tb")),
        keras.callbacks.LambdaCallback(
            on_train_begin=lambda logs: seen.append("begin"),
            on_train_batch_end=lambda batch, logs: seen.append((batch, sorted(logs))),
            on_epoch_end=lambda epoch, logs: seen.append((epoch, sorted(logs))),
            on_train_end=lambda logs: seen.append("end"),
        ),
        keras.callbacks.TerminateOnNaN(),
    ]
    result = fit(data, tmp_path / "run", callbacks, epochs=2)
    logs = ["accuracy", "learning_rate", "loss", "val_accuracy", "val_loss"]
    calls = [(0, ["loss"]), (1, ["loss"])]
    assert seen == ["begin", *calls, (0, logs), *calls, (1, logs), "end"]
    saved = keras.models.load_model(tmp_path / "best-2.keras")
    np.testing.assert_array_equal(saved.get_weights()[0], result.model.get_weights()[0])
    assert list((tmp_path / "tb" / "train").iterdir()) and list((tmp_path / "tb" / "validation").iterdir())


class Recorder(Callback):
    def __init__(self):
        self.events, self.total = [], 0

    def on_start(self, run):
        self.events.append(("start", run.step, self.total))

    def on_call(self, run, loss):
        self.total += 1

    def on_log(self, run, metrics):
        assert metrics["loss"] > 0
        self.events.append(("log", run.step))

    def on_evaluation(self, run, metrics):
        self.events.append(("evaluation", run.step, sorted(metrics)))
        if run.step == 40 and run.config.hyperparameters.get("stop"):
            run.stop()

    def on_end(self, run):
        self.events.append(("end", run.step))

    def get_state(self):
        return {"total": self.total}

    def set_state(self, state):
        self.total = state["total"]


def test_own_callback_sees_the_run_stops_it_and_goes_on_with_its_state(data, tmp_path):
    first = Recorder()
    result = fit(data, tmp_path, [first], epochs=3, hyperparameters={"stop": True})
    assert result.steps == 40 and result.stopped_early
    assert first.events[0] == ("start", 0, 0) and first.events[-1] == ("end", 40)
    assert ("evaluation", 20, ["accuracy", "loss"]) in first.events and ("log", 10) in first.events
    short = Recorder()
    fit(data, tmp_path / "b", [short], epochs=1, checkpoint=CheckpointConfig(every_steps=10))
    again = Recorder()
    fit(data, tmp_path / "b", [again], epochs=2)
    assert again.events[0] == ("start", 20, 2) and again.total == 4


def test_early_stopping_of_keras_goes_on_counting_after_a_restart(data, tmp_path):
    import keras

    def stopping():
        return keras.callbacks.EarlyStopping(monitor="val_loss", min_delta=10.0, patience=3)

    fit(data, tmp_path, [stopping()], epochs=2)
    result = fit(data, tmp_path, [stopping()], epochs=9)
    assert result.steps == 4 * _STEPS_PER_EPOCH, "one best, then three without an improvement, over both processes"


def test_callback_that_does_not_fit_is_refused_before_the_first_step(data, tmp_path):
    import keras
    import tensorflow as tf

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(tf.zeros([8, 1]))
            self.optimizer = keras.optimizers.SGD(0.1)

        def compute_loss(self, features, labels, weights, training):
            return tf.reduce_mean(tf.square(features["x"] @ self.w - tf.cast(labels, tf.float32)[:, None]))

    cases = [
        ([keras.callbacks.BackupAndRestore(str(tmp_path / "x"))], build_dense, "BackupAndRestore would restore beside"),
        ([object()], build_dense, "object is neither a trainers.callbacks.Callback nor one of Keras"),
        ([keras.callbacks.TerminateOnNaN()], lambda context: Module(), "TerminateOnNaN is of Keras, the model is not"),
    ]
    for number, (callbacks, build, message) in enumerate(cases):
        with pytest.raises(ConfigError, match=message):
            fit(data, tmp_path / str(number), callbacks, build)
        assert not (tmp_path / str(number) / "checkpoints").exists()
    for trackers, message in (({"aim": {}}, "allowed are mlflow, wandb"), ({"mlflow": 3}, r"trackers\.mlflow: got 3")):
        with pytest.raises(ConfigError, match=message):
            fit(data, tmp_path / "t", [], trackers=trackers)
