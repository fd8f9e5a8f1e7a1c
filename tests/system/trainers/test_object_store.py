"""Training whose directory is on a real S3 server: killed, resumed to the bit, and with saves that fail in the middle."""

from __future__ import annotations

import functools
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from engine.core.errors import ConfigError
from engine.storage.remote import RemoteOptions, use_options
from engine.storage.tree import list_tree
from tests.support.bits import weights_of
from tests.support.eventually import eventually
from tests.support.forks import start_forked
from tests.support.models import build_keras3, classification_columns
from tests.support.servers.s3 import FaultyProxy, environment_of, s3_server
from trainers import ArrayDataset, CheckpointConfig, Trainer, TrainerConfig
from trainers.checkpoints.directory import checkpoint_steps

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
FAST = RemoteOptions(attempts=2, backoff_s=0.01)


@pytest.fixture(scope="module")
def server():
    with s3_server() as address:
        yield address


@pytest.fixture(autouse=True)
def environment(server, monkeypatch):
    for name, value in environment_of(server).items():
        monkeypatch.setenv(name, value)
    return


def config(directory: object, **changes) -> TrainerConfig:
    settings = {"label": "y", "global_batch_size": 32, "epochs": 3, "steps_per_call": 4, "tensorboard": False}
    return TrainerConfig(directory=str(directory), **{**settings, **changes})


def train(directory: str, pause_s: float = 0.0, **changes):
    """Trains 60 steps of 32 records; a commit every 8."""
    if pause_s:
        from trainers.loop.session import Session

        real = Session.call

        def slow(self, *args):
            time.sleep(pause_s)  # a slow step
            return real(self, *args)

        Session.call = slow
    settings = config(directory, checkpoint=CheckpointConfig(every_steps=8, keep=2), **changes)
    return Trainer(settings, build_keras3, ArrayDataset(classification_columns())).fit()


@pytest.fixture(scope="module")
def quiet(tmp_path_factory) -> dict[str, bytes]:
    """Returns the final weights of an uninterrupted training in a local directory."""
    return weights_of(train(str(tmp_path_factory.mktemp("quiet"))).checkpoint)


def test_a_directory_that_comes_into_being_while_it_is_listed_is_listed(monkeypatch):
    import s3fs

    from engine.storage.remote import open_output

    real = s3fs.S3FileSystem.isdir

    def slow(self, path):
        answer = real(self, path)
        if not answer:  # its writer is quicker than the next request
            with open_output("s3://data/runs/young/checkpoints/a") as file:
                file.write(b"x")
            self.invalidate_cache()
        return answer

    monkeypatch.setattr(s3fs.S3FileSystem, "isdir", slow)
    assert list_tree("s3://data/runs/young/checkpoints") == ["a"]


def test_checkpoints_on_s3_killed_training_goes_on_bit_identically_and_keeps_two(quiet):
    directory = "s3://data/runs/killed"
    code = f"from tests.system.trainers.test_object_store import train; train({directory!r}, pause_s=0.2)"
    process = start_forked(code, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT)

    def ended():
        return process.poll() is not None and f"exit code {process.poll()}"

    try:
        eventually(lambda: len(checkpoint_steps(directory)) >= 2, "two checkpoints are there", 240, 0.1, unless=ended)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was still training"
    committed = checkpoint_steps(directory)
    assert len(committed) >= 2
    result = train(directory, tensorboard=True, log_every_steps=8)
    assert result.resumed_from == committed[-1] and result.steps == 60
    assert weights_of(result.checkpoint) == quiet
    assert checkpoint_steps(directory) == [56, 60]
    names = list_tree(directory)
    assert {name.split("/")[0] for name in names} == {"checkpoints", "logs"}
    assert len([name for name in names if name.startswith("checkpoints/step-")]) == 2 * 3, (
        "of deleted ones nothing is left"
    )
    assert any(re.match(r"logs/train/events\.out", name) for name in names)


def test_two_trainings_at_once_on_s3_make_the_steps_once(quiet):
    directory = "s3://data/runs/twice"
    code = (
        "from tests.system.trainers.test_object_store import train; "
        f"result = train({directory!r}, pause_s=0.2); print('from', result.resumed_from, 'to', result.steps)"
    )
    start = functools.partial(start_forked, code, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT)
    first = start()
    eventually(lambda: "training.lock" in list_tree(directory), "the first one has the directory", timeout_s=240)
    second = start()
    (out, said), (late, answer) = (process.communicate(timeout=400) for process in (first, second))
    assert first.returncode == 0 and out.strip().endswith("from 0 to 60"), said
    # It waits for the other's end and finds nothing left to do, or says who is in its way where that takes too long.
    if second.returncode == 0:
        assert late.strip().endswith("from 60 to 60"), answer
    else:
        assert "another training run uses it (process " in answer
    assert weights_of(directory) == quiet and not any(name.endswith(".lock") for name in list_tree(directory))


def test_lease_that_another_run_took_over_ends_this_one():
    from trainers.checkpoints.directory_lock import lock_directory

    directory = "s3://data/runs/lost"
    mine = lock_directory(directory, renew_s=0.2)
    mine.check()
    with pytest.raises(ConfigError, match=r"another training run uses it \(process \d+"):
        lock_directory(directory, wait_s=0.5)
    # As if this machine had stood still: to the next one the lease looks old.
    theirs = lock_directory(directory, lease_s=-1.0)
    eventually(lambda: raises_taken_over(mine), "the loss is noticed")
    theirs.check()
    mine.release()  # leaves the lease of the other
    assert any(name.endswith(".lock") for name in list_tree(directory))
    theirs.release()


def raises_taken_over(lock) -> bool:
    try:
        lock.check()
    except ConfigError as error:
        return "took this directory over" in str(error)
    return False


def test_saves_to_s3_that_fail_in_the_middle_leave_the_last_commit(server, quiet, monkeypatch, capfd):
    directory = "s3://data/runs/failing"
    broken = [f"step-{24:012d}/tensors.data", f"step-{40:012d}/state.json"]

    def fault(request):
        return "503" if request.method == "PUT" and any(part in request.path for part in broken) else None

    from trainers.loop.session import Session

    real, seen = Session.call, {}

    def look(self, *args):
        self._saver.wait()
        seen[self.state.step] = checkpoint_steps(directory)
        return real(self, *args)

    monkeypatch.setattr(Session, "call", look)
    with FaultyProxy(server, fault) as proxy, use_options(FAST):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{proxy.address}")
        result = train(directory)
        assert proxy.faults == ["503"] * len(broken) * FAST.attempts
    assert seen[20] == seen[28] == [8, 16], "nothing new, nothing gone"
    assert seen[36] == seen[44] == [16, 32], "the save after it is one again"
    said = capfd.readouterr().err
    assert all(f"checkpoint of step {n} was not written: DataError: {directory}" in said for n in (24, 40))
    assert weights_of(result.checkpoint) == quiet
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server}")
    assert [name for name in list_tree(directory) if f"step-{40:012d}" in name], "half a checkpoint was left"
    train(directory, epochs=4)
    left = {name.split("/")[1] for name in list_tree(directory)}
    assert left == {f"step-{n:012d}" for n in (72, 80)}, "the next start deletes what failed saves left"


def test_saved_model_written_to_s3_answers_as_the_model_does():
    import tensorflow as tf

    from engine.storage.tree import for_tensorflow
    from trainers.export.export import write_saved_model
    from trainers.models.context import ModelContext

    columns = classification_columns(64)
    spec = ArrayDataset(columns).feature_spec()
    model = build_keras3(ModelContext(feature_spec=spec))
    write_saved_model(model, "s3://data/models/1", raw_feature_spec=spec, label="y")
    assert "saved_model.pb" in list_tree("s3://data/models/1")
    loaded = tf.saved_model.load(for_tensorflow("s3://data/models/1"))
    features = {name: tf.constant(columns[name]) for name in ("x", "c")}
    answers = loaded.signatures["raw_features"](**features)["outputs"]
    np.testing.assert_allclose(answers, model(features), rtol=1e-6)


def test_remote_directories_that_cannot_work_are_refused_before_anything_is_written(tmp_path):
    from trainers.export.export import export_saved_model, latest_version
    from trainers.serving.push import push, rollback

    with pytest.raises(ConfigError, match=r"audit: got True; expected false, since s3://data/x is not local"):
        config("s3://data/x", audit=True)
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL"):
        config("s3://data/x?endpoint_override=127.0.0.1:1")
    for refused in (
        lambda: export_saved_model(object(), "s3://data/models"),
        lambda: latest_version("s3://data/models"),
        lambda: push(tmp_path, "s3://data/serving", force=True),
        lambda: push("s3://data/models", tmp_path / "serving", force=True),
        lambda: rollback("s3://data/serving"),
    ):
        with pytest.raises(ConfigError, match=r"s3://data/\w+' is not on this machine's file systems"):
            refused()
    assert list_tree("s3://data/serving") == [] and not list(tmp_path.iterdir())
