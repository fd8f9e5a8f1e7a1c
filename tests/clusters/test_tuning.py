"""A search with a real Ray: trials in processes of their own, one of them killed, the best one exported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli.main import main
from engine.core.exit_codes import WRONG_INPUT

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
ROOT = str(Path(__file__).parents[2])
MODULE = """
import os, signal, pathlib


def build_model(context):
    import keras

    inputs = {"x": keras.Input((), name="x")}
    outputs = keras.layers.Dense(1, kernel_initializer="zeros")(keras.layers.Reshape((1,))(inputs["x"]))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(context.hyperparameters["rate"]), "mse")
    return model


def callbacks():
    from trainers.callbacks.base import Callback

    class KilledOnce(Callback):
        def on_call(self, run, loss):
            mark = pathlib.Path(os.environ["MARK"])
            if run.step >= 24 and not mark.exists():
                mark.write_text(f"{run.config.directory} {run.step}")
                os.kill(os.getpid(), signal.SIGKILL)

    return [KilledOnce()]
"""


@pytest.fixture
def data(tmp_path):
    x = np.random.default_rng(0).normal(size=640).astype(np.float32)
    for name, part in (("train", x[:512]), ("eval", x[512:])):
        pq.write_table(pa.table({"x": part, "y": 3 * part}), tmp_path / f"{name}.parquet")
    (tmp_path / "model.py").write_text(MODULE)
    return tmp_path


def words(data: Path, *more: str) -> list[str]:
    return [
        *(
            "tune",
            str(data / "train.parquet"),
            "--eval",
            str(data / "eval.parquet"),
            "--module",
            str(data / "model.py"),
        ),
        *("--label", "y", "--out", str(data / "search"), "--epochs", "4", "--batch-size", "64", "--json"),
        *("--set", "steps_per_call=4", "--set", "tensorboard=false", "--set", "checkpoint.every_steps=8"),
        *("--concurrent", "2", *more),
    ]


def test_search_finds_the_better_rate_survives_a_kill_and_is_exported(data, capfd, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ROOT)
    monkeypatch.setenv("MARK", str(data / "killed"))
    rates = [1e-4, 0.1, 1e-3, 1e30]
    grid = ("--search", f'hyperparameters.rate={{"grid": {rates}}}', "--trials", "1", "--scheduler", "none")
    search = words(data, *grid, "--callbacks", "callbacks")
    assert main(search) == 0
    said = json.loads(capfd.readouterr().out.strip().splitlines()[-1])
    assert [trial["drawn"]["hyperparameters.rate"] for trial in said["finished"]] == [0.1, 1e-3, 1e-4, 1e30]
    assert [trial["diverged"] for trial in said["finished"][:3]] == [None] * 3
    assert "the loss of step" in said["finished"][3]["diverged"] and said["finished"][3]["metrics"] is None
    assert said["failed"] == {} and said["ended_early"] == 0
    # The killed trial went on from its checkpoint.
    directory, step = (data / "killed").read_text().split()
    finished = json.loads((Path(directory) / "trial.json").read_text())
    assert int(step) >= 24 and finished["steps"] == 32
    # A finished search is not searched again; one with other settings is refused.
    assert main(search) == 0
    assert json.loads(capfd.readouterr().out.strip().splitlines()[-1]) == said
    assert main([*search, "--set", "seed=3"]) == WRONG_INPUT
    assert "has a search with another job.config" in capfd.readouterr().err
    # The best trial is what export takes.
    model = [*("--module", str(data / "model.py"), "--data", str(data / "train.parquet"))]
    assert main(["export", str(data / "search"), *model, "--out", str(data / "models")]) == 0
    card = json.loads(next((data / "models/1/assets.extra").glob("*card*.json")).read_text())
    assert card["config"]["hyperparameters"] == {"rate": 0.1}


def test_optuna_draws_and_asha_ends_what_is_behind(data, capfd, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ROOT)
    (data / "space.toml").write_text(
        'trials = 5\nsampler = "optuna"\nseed = 1\nreduction = 2\n[search]\n"hyperparameters.rate" = { loguniform = [1e-5, 0.2] }\n'
    )
    assert main(words(data, "--space", str(data / "space.toml"))) == 0
    said = json.loads(capfd.readouterr().out.strip().splitlines()[-1])
    assert len(said["finished"]) + said["ended_early"] == 5 and said["ended_early"] >= 1
    rates = [trial["drawn"]["hyperparameters.rate"] for trial in said["finished"]]
    assert all(1e-5 <= rate <= 0.2 for rate in rates)
    losses = [trial["metrics"]["loss"] for trial in said["finished"]]
    assert losses == sorted(losses)


def test_tuner_fn_gives_tfx_what_it_asks_for(data, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", ROOT)
    from types import SimpleNamespace

    from cluster.tuning.tfx import make_tuner_fn
    from cluster.user_code.module import load_user_module
    from engine import ConfigError, Dataset

    schema = tmp_path / "schema.pbtxt"
    write_schema(Dataset.open(str(data / "train.parquet")), schema)
    build_model = load_user_module(data / "model.py").build_model
    arguments = SimpleNamespace(
        train_files=[str(data / "train.parquet")],
        eval_files=[str(data / "eval.parquet")],
        train_steps=8,
        eval_steps=2,
        schema_path=str(schema),
        transform_graph_path=None,
        working_dir=str(tmp_path / "work"),
        custom_config={"trials": 1},
    )
    options = {
        "label": "y",
        "global_batch_size": 64,
        "tensorboard": False,
        "concurrent": 2,
        "on_nan": "go_on",
        "scheduler": "none",
    }
    space = {"hyperparameters.rate": {"grid": [1e30, 0.1]}}  # the first one is trained to its end, with NaN
    tuner, fit_kwargs = make_tuner_fn(build_model, search=space, **options)(arguments)
    tuner.search_space_summary()
    tuner.search(**fit_kwargs)
    tuner.results_summary()
    last = [json.loads(path.read_text()) for path in (tmp_path / "work/search/trials").glob("*/trial.json")]
    assert sorted(trial.get("diverged", "") for trial in last) == ["", "its loss is nan after 8 steps"]
    assert tuner.get_best_hyperparameters()[0].get_config()["values"] == {"rate": 0.1}
    with pytest.raises(ConfigError, match=r"hyperparameters\.NAME"):
        make_tuner_fn(build_model, search={"global_batch_size": {"choice": [32]}}, **options)(arguments)


def write_schema(dataset, path):
    from google.protobuf import text_format
    from tensorflow_transform.tf_metadata import schema_utils

    path.write_text(text_format.MessageToString(schema_utils.schema_from_feature_spec(dict(dataset.feature_spec()))))
