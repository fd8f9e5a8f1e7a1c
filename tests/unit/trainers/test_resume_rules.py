"""Which settings a resumed run may change: what changes its meaning is refused by name, what is meant to be tuned is taken and said."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from engine.core import exit_codes
from engine.core.errors import ConfigError
from engine.machine.processes import process_mark
from engine.storage.tree import write_text
from tests.support.models import classification_columns
from tests.support.small_disk import file_system_at
from trainers import ArrayDataset, CheckpointConfig, Trainer, TrainerConfig
from trainers.checkpoints.checkpoint import CheckpointError, CheckpointNotWritten, load_checkpoint
from trainers.checkpoints.directory import checkpoint_path
from trainers.checkpoints.directory_lock import lock_directory
from trainers.checkpoints.integrity import sealed_text


@pytest.fixture(scope="module")
def data() -> ArrayDataset:
    columns = classification_columns()
    more = {"z": (columns["c"] > 5).astype(np.int64), "w": np.ones(640, np.float32)}
    return ArrayDataset({"x": columns["x"], "y": columns["y"], **more})


def build(optimizer="SGD", rate=0.1, frozen=False, **settings):
    def build_model(context):
        import keras

        keras.utils.set_random_seed(1)
        inputs = {"x": keras.Input((8,), name="x")}
        model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs["x"]))
        model.layers[-1].trainable = not frozen
        model.compile(getattr(keras.optimizers, optimizer)(rate, **settings), "binary_crossentropy")
        return model

    return build_model


def config(directory, **changes) -> TrainerConfig:
    settings = {"label": "y", "global_batch_size": 64, "steps": 4, "steps_per_call": 2, "tensorboard": False}
    return TrainerConfig(directory=str(directory), **{**settings, **changes})


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained")
    every = CheckpointConfig(every_steps=2)
    Trainer(config(directory, hyperparameters={"a": 1}, checkpoint=every), build(), data).fit()
    return directory


@pytest.fixture
def run(data, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")

    def go_on(model=None, **changes):
        settings = {"hyperparameters": {"a": 1}, "steps": 8, **changes}
        return Trainer(config(tmp_path / "run", **settings), model or build(), data).fit()

    return go_on


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": "z"}, "label='y', now it is 'z'"),
        ({"weight": "w"}, "weight=none, now it is 'w'"),
        ({"class_weights": {1: 2.0}}, r"class_weights=none, now it is \{'1': 2.0\}"),
        ({"hyperparameters": {"a": 2}}, r"hyperparameters=\{'a': 1\}, now it is \{'a': 2\}"),
        ({"precision": "mixed_bfloat16"}, "precision='float32', now it is 'mixed_bfloat16'"),
        ({"ema_decay": 0.9}, "ema_decay=none, now it is 0.9"),
        ({"seed": 5}, "seed=0, now it is 5"),
    ],
)
def test_change_of_meaning_is_refused_by_name(run, change, said):
    with pytest.raises(CheckpointError, match=said):
        run(**change)


def test_another_optimizer_is_refused_by_name(run):
    with pytest.raises(CheckpointError, match="with optimizer SGD, now it is Adam"):
        run(build("Adam"))


def test_another_learning_rate_of_the_settings_is_taken_and_said(run, capfd):
    result = run(learning_rate=0.5, clip_norm=1.0)
    assert result.resumed_from == 4 and result.metrics["learning_rate"] == pytest.approx(0.5)
    said = capfd.readouterr().err
    assert "'peak': 0.5" in said and "clip_norm=1.0 (was none)" in said and "steps=8 (was 4)" in said


def test_another_learning_rate_of_the_program_is_taken_and_said(run, capfd):
    result = run(build(rate=0.25))
    assert result.resumed_from == 4 and result.metrics["learning_rate"] == pytest.approx(0.25)
    assert "learning rate 0.25 (was 0.1)" in capfd.readouterr().err


def test_another_setting_of_the_optimizer_and_frozen_weights_are_taken_and_said(run, capfd):
    run(build(clipnorm=0.5))
    assert "the optimizer's clipnorm=0.5 (was None)\n" in capfd.readouterr().err
    run(build(clipnorm=0.5, frozen=True), steps=10)
    assert "the optimizer's number of trained weights=0 (was 2)\n" in capfd.readouterr().err


def test_other_code_of_the_same_shapes_is_taken_and_said(data, tmp_path, capfd):
    from cluster.steps import train

    text = """import keras
from losses import loss

def build_model(context):
    inputs = {"x": keras.Input((8,), name="x")}
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs["x"]))
    model.compile("sgd", loss)
    return model

def callbacks():
    return []
"""
    module = tmp_path / "model.py"

    def go_on(steps, module_text, loss="binary_crossentropy"):
        (tmp_path / "losses.py").write_text(f"loss = {loss!r}\n")
        module.write_text(module_text)
        sys.modules.pop("losses", None)
        settings = train.TrainConfig(**vars(config(tmp_path / "run", steps=steps)), callbacks="callbacks")
        train.run(settings, str(module), data)
        return capfd.readouterr().err

    try:
        go_on(2, text)
        assert "code" not in go_on(4, f"# better\n{text}")
        said = go_on(6, text, "mse")
        assert "other code of build_model" in said and "code of callbacks" not in said
        assert "other code of callbacks" in go_on(8, text.replace("return []", "return list()"), "mse")
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("losses", None)


def test_another_release_of_a_library_is_taken_and_said(run, tmp_path, capfd):
    import keras

    folder = Path(checkpoint_path(str(tmp_path / "run"), 4))
    state = {k: v for k, v in load_checkpoint(str(folder)).state.items() if k != "sha256_of_state"}
    (folder / "state.json").write_text(
        sealed_text({**state, "versions": {**state["versions"], "keras": "3.0.0"}}, folder)
    )
    run()
    assert f"keras {keras.__version__} (was 3.0.0)" in capfd.readouterr().err


def damage_state(folder):
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "step": 6_000_000}))


def damage_history(folder):
    """A number that no digest can be made of."""
    text = (folder / "state.json").read_text()
    (folder / "state.json").write_text(text.replace('"best_step": null', '"best_step": 2e999'))


def damage_other_state(folder):
    """The state of step 2 with its own digest, renamed to step 4, beside the tensors of step 4."""
    shutil.copy(folder.parent / "step-000000000002" / "state.json", folder / "state.json")


def damage_tensor(folder):
    path = next(folder.glob("tensors.data-*"))
    values = bytearray(path.read_bytes())
    values[len(values) // 2] ^= 1
    path.write_bytes(bytes(values))


def damage_length(folder):
    path = next(folder.glob("tensors.data-*"))
    path.write_bytes(path.read_bytes()[:-1])


def damage_letter(folder):
    """A flipped bit that makes no text of it."""
    data = bytearray((folder / "state.json").read_bytes())
    data[len(data) // 2] ^= 0x80
    (folder / "state.json").write_bytes(data)


@pytest.mark.parametrize(
    "damage", [damage_state, damage_history, damage_other_state, damage_letter, damage_tensor, damage_length]
)
def test_damaged_newest_checkpoint_falls_back_to_the_one_before_and_says_so(run, tmp_path, damage, capfd):
    damage(tmp_path / "run" / "checkpoints" / "step-000000000004")
    result = run(steps=4)
    said = capfd.readouterr().err
    assert "DAMAGED CHECKPOINT" in said and "goes on from step 2, the last whole checkpoint" in said
    assert result.resumed_from == 2 and result.steps == 4


def test_no_whole_checkpoint_is_an_error_and_no_new_training(run, tmp_path):
    for step in (2, 4):
        damage_state(tmp_path / "run" / "checkpoints" / f"step-{step:012d}")
    with pytest.raises(CheckpointError, match="no checkpoint there is whole"):
        run()
    assert checkpoint_path(str(tmp_path / "run"), 4)


def test_two_trainings_in_one_directory_the_second_is_refused(data, tmp_path):
    lock = lock_directory(str(tmp_path))
    try:
        with pytest.raises(ConfigError, match="another training run uses it"):
            lock_directory(str(tmp_path), wait_s=0.1)
    finally:
        lock.release()
    lock_directory(str(tmp_path)).release()


def test_lock_waits_for_a_training_that_is_just_ending(tmp_path, capfd):
    lock = lock_directory(str(tmp_path))
    timer = threading.Timer(0.3, lock.release)
    timer.start()
    lock_directory(str(tmp_path), wait_s=60.0).release()
    timer.join()
    assert "waiting for process" in capfd.readouterr().err


@pytest.mark.parametrize("alive", [True, False])
def test_lease_of_a_dead_run_is_taken_over_though_its_number_is_another_process_now(alive):
    directory = f"memory://runs/{alive}"
    mine = os.getpid()
    mark = process_mark(mine) if alive else f"{mine}:1"
    place = {"host": socket.gethostname(), "pids": os.readlink("/proc/self/ns/pid")}
    holder = {**place, "pid": mine, "mark": mark, "token": "theirs", "renewed_at": time.time()}
    write_text(f"{directory}/training.lock", json.dumps(holder))
    if alive:
        with pytest.raises(ConfigError, match=f"another training run uses it .process {mine} of"):
            lock_directory(directory, wait_s=0.1)
    else:
        lock_directory(directory, wait_s=0.1).release()


@pytest.mark.parametrize(("name", "value"), [("pids", "pid:[1]"), ("mark", "77:"), ("mark", "x:1"), ("mark", "")])
def test_lease_of_a_run_that_nobody_can_look_up_is_waited_for(name, value):
    """In a container of the same host name a number is another process's."""
    directory = f"memory://runs/other-{name}{len(value)}"
    place = {"host": socket.gethostname(), "pids": os.readlink("/proc/self/ns/pid")}
    holder = {**place, "pid": 1, "mark": "1:1", "token": "theirs", "renewed_at": time.time(), name: value}
    write_text(f"{directory}/training.lock", json.dumps(holder))
    with pytest.raises(ConfigError, match="another training run uses it"):
        lock_directory(directory, wait_s=0.1)


@pytest.mark.parametrize("renewed", ['"soon"', "[]", "NaN", "1" + "0" * 400, "-1e999"])
def test_lease_without_a_time_is_none(renewed):
    directory = f"memory://runs/forged-{renewed.encode().hex()[:20]}"
    write_text(f"{directory}/training.lock", f'{{"token": "theirs", "renewed_at": {renewed}}}')
    lock_directory(directory, wait_s=0.1).release()


@pytest.mark.parametrize("mark", ["²:5", "9" * 5000 + ":1"])
def test_lease_of_no_process_is_waited_for(mark):
    directory = f"memory://runs/mark-{len(mark)}"
    place = {"host": socket.gethostname(), "pids": os.readlink("/proc/self/ns/pid")}
    holder = {**place, "pid": 1, "mark": mark, "token": "theirs", "renewed_at": time.time()}
    write_text(f"{directory}/training.lock", json.dumps(holder))
    with pytest.raises(ConfigError, match="another training run uses it"):
        lock_directory(directory, wait_s=0.1)


def test_directory_that_cannot_be_written_is_the_users_fault(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written to"):
        Trainer(config(tmp_path / "file" / "run"), build(), data).fit()


def test_full_disk_is_said_with_the_directory_that_is_full(data, tmp_path):
    directory = tmp_path / ("full" * 40)  # TensorFlow names the path before the reason
    directory.mkdir()
    with file_system_at(directory, "8k") as mounted:
        if not mounted:
            pytest.skip("nothing may be mounted here")
        with pytest.raises(CheckpointNotWritten, match="No space left") as found:
            Trainer(config(directory / "run"), build(), data).fit()
        assert str(directory / "run") in str(found.value) and found.value.exit_code == exit_codes.FAILED


def test_normalization_goes_on_with_what_it_was_adapted_to(data, tmp_path):
    """`build_model` adapts to a sample, which is another one each time; the checkpoint says what was meant."""
    x = data.columns["x"]

    def adapted_to(sample):
        def build_model(context):
            import keras

            keras.utils.set_random_seed(1)
            inputs = {"x": keras.Input((8,), name="x")}

            class OfOurs(keras.layers.Normalization):
                """What is derived from it computes with the same constants."""

            normal = OfOurs(name="normal")
            normal.adapt(sample)
            inner = keras.Sequential([normal, keras.layers.Dense(1, activation="sigmoid", name="out")], name="inner")
            model = keras.Model(inputs, inner(inputs["x"]))
            model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy")
            return model

        return build_model

    def answers(directory, sample, **changes):
        model = Trainer(config(directory, **changes), adapted_to(sample), data, eval=data).fit().model
        return model.predict({"x": x}, verbose=0)

    before = answers(tmp_path / "run", x * 5 + 3)
    resumed = answers(tmp_path / "run", x, steps=6)
    warm = answers(tmp_path / "warm", x, warm_start=str(tmp_path / "run"))
    np.testing.assert_allclose(resumed, before, atol=1e-6)
    np.testing.assert_allclose(warm, before, atol=1e-6)
    assert np.abs(answers(tmp_path / "fresh", x) - before).max() > 0.01


def test_stateful_recurrent_layer_goes_on_and_is_exported_with_its_state(tmp_path):
    """Keras lists the state of none among the variables of a model."""
    import tensorflow as tf

    from trainers.export.from_checkpoint import export_checkpoint

    def stateful(context):
        import keras

        keras.utils.set_random_seed(1)
        inputs = keras.Input(batch_shape=(32, 8), name="x")
        hidden = keras.layers.LSTM(3, stateful=True)(keras.layers.Reshape((4, 2))(inputs))
        model = keras.Model({"x": inputs}, keras.layers.Dense(1)(hidden))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model

    columns = classification_columns(128)
    rows = ArrayDataset({"x": columns["x"], "y": columns["y"]})
    settings = {"global_batch_size": 32, "checkpoint": CheckpointConfig(every_steps=2), "eval_every_steps": 4}
    whole = Trainer(config(tmp_path / "whole", **settings), stateful, rows, eval=rows).fit().model
    # Its end is evaluated, where the other is not.
    Trainer(config(tmp_path / "parts", **{**settings, "steps": 2}), stateful, rows, eval=rows).fit()
    resumed = Trainer(config(tmp_path / "parts", **settings), stateful, rows, eval=rows).fit().model
    for mine, theirs in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    spec = dict(rows.feature_spec())
    out = export_checkpoint(tmp_path / "parts", stateful, tmp_path / "out", transform_graph=None, raw_feature_spec=spec)
    batch = tf.constant(columns["x"][:32])
    answer = tf.saved_model.load(str(out)).signatures["raw_features"](x=batch)["outputs"]
    np.testing.assert_allclose(answer, resumed({"x": batch}, training=False), rtol=1e-5)
