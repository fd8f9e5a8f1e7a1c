"""`run_fn` with TFX's arguments: gzip TFRecord and Parquet examples, the graph, hyperparameters, base model, workers.

The real TFX runs in tests/clusters; here its FnArgs is an object with the same attributes.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine import ConfigError, DataError, Dataset
from tests.support import flights as data
from trainers.tfx import make_run_fn, run_fn

ROWS = 6000


@pytest.fixture(scope="module")
def flights(tmp_path_factory):
    made = data.make_flights(tmp_path_factory.mktemp("flights"), ROWS)
    shards = Dataset.open(made.directory / "transformed")
    shards.write(made.directory / "tfrecord", format="tfrecord", num_shards=3, compression="gzip")
    return made


@pytest.fixture
def fn_args(flights, tmp_path):
    return SimpleNamespace(
        working_dir=None,
        train_files=[str(flights.directory / "tfrecord" / "*.gz")],
        eval_files=[str(flights.directory / "tfrecord" / "*.gz")],
        train_steps=12,
        eval_steps=4,
        schema_path=None,
        schema_file=None,
        transform_graph_path=flights.graph,
        transform_output=None,
        data_accessor=None,
        serving_model_dir=str(tmp_path / "model/Format-Serving"),
        eval_model_dir=str(tmp_path / "model/Format-TFMA"),
        model_run_dir=str(tmp_path / "run"),
        base_model=None,
        hyperparameters=None,
        custom_config=None,
    )


def answers(flights, model_dir):
    from trainers.export.predict import LoadedModel

    return LoadedModel(model_dir).predict(next(iter(flights.raw.read_batches(batch_rows=1000))))


def test_run_fn_of_gzip_tfrecord_writes_model_card_and_eval_logs(flights, fn_args):
    make_run_fn(data.build_model, label=data.LABEL, global_batch_size=500, seed=3)(fn_args)
    found = answers(flights, fn_args.serving_model_dir)
    assert found.shape == (1000,) and found.std() > 0.01
    assert list(Path(fn_args.model_run_dir).rglob("*tfevents*"))
    from trainers.export.card import read_card

    card = read_card(fn_args.serving_model_dir)
    assert card is not None and card["config"]["steps"] == 12 and card["config"]["eval_steps"] == 4
    assert card["data"]["records"] == ROWS and "eval_loss" in card["metrics"]
    assert "arr_delay" not in card["raw_features"]


def test_run_fn_of_parquet_trains_the_same_model(flights, fn_args, tmp_path):
    """One shard is one block in either format, so the order of records is the same, and with it the weights."""
    run = make_run_fn(data.build_model, label=data.LABEL, global_batch_size=500, seed=3)
    one = Dataset.open(flights.directory / "transformed")
    results = []
    for name, settings in (("tfrecord", {"compression": None}), ("parquet", {})):
        one.write(tmp_path / name, format=name, num_shards=1, **settings)
        fn_args.train_files, fn_args.eval_files = [str(tmp_path / name / "data*")], []
        fn_args.serving_model_dir, fn_args.model_run_dir = str(tmp_path / name / "m"), str(tmp_path / name / "r")
        run(fn_args)
        results.append(answers(flights, fn_args.serving_model_dir))
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)


def test_run_fn_custom_config_goes_before_options_and_names_build_model(flights, fn_args):
    fn_args.custom_config = {
        "build_model": "tests.support.flights.build_model",
        "label": data.LABEL,
        "global_batch_size": 250,
        "checkpoint": {"every_steps": 4, "keep": 2},
    }
    fn_args.train_steps, fn_args.eval_steps = 8, None
    run_fn(fn_args)
    from trainers.checkpoints.checkpoint import load_checkpoint
    from trainers.checkpoints.directory import checkpoint_steps

    assert 8 in checkpoint_steps(fn_args.model_run_dir) and len(checkpoint_steps(fn_args.model_run_dir)) <= 2
    config = load_checkpoint(fn_args.model_run_dir).state["config"]
    assert config["global_batch_size"] == 250 and config["checkpoint"]["every_steps"] == 4


def test_run_fn_hyperparameters_of_tuner_reach_build_model(flights, fn_args):
    seen = []

    def build_model(context):
        seen.append(dict(context.hyperparameters))
        return data.build_model(context)

    fn_args.hyperparameters = {"space": [{"class_name": "Int"}], "values": {"units": 24}}
    fn_args.train_steps = 2
    make_run_fn(build_model, label=data.LABEL, global_batch_size=500)(fn_args)
    assert seen == [{"units": 24}]


def test_run_fn_base_model_gives_first_weights(flights, fn_args, tmp_path):
    import keras

    run = make_run_fn(data.build_model, label=data.LABEL, global_batch_size=500)
    run(fn_args)
    first = answers(flights, fn_args.serving_model_dir)

    def frozen(context):
        model = data.build_model(context)
        model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy")
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 1.0
        return model

    fn_args.base_model = fn_args.serving_model_dir
    fn_args.serving_model_dir, fn_args.model_run_dir = str(tmp_path / "second"), str(tmp_path / "second_run")
    make_run_fn(frozen, label=data.LABEL, global_batch_size=500)(fn_args)
    np.testing.assert_allclose(answers(flights, fn_args.serving_model_dir), first, atol=1e-6)


def test_run_fn_base_model_of_other_architecture_is_refused(flights, fn_args, tmp_path):
    import keras

    run = make_run_fn(data.build_model, label=data.LABEL, global_batch_size=500)
    fn_args.train_steps = 2
    run(fn_args)

    def other(context):
        inputs = {"hour": keras.Input((), name="hour")}
        model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Reshape((1,))(inputs["hour"])))
        model.compile("sgd", "mse")
        return model

    fn_args.base_model, fn_args.model_run_dir = fn_args.serving_model_dir, str(tmp_path / "second_run")
    with pytest.raises(ConfigError, match="variables, the model that was built has 2"):
        make_run_fn(other, label=data.LABEL)(fn_args)
    fn_args.base_model = str(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="no weights can be read there"):
        make_run_fn(data.build_model, label=data.LABEL)(fn_args)


@pytest.mark.parametrize(
    ("custom", "message"),
    [
        ({"batch_size": 5}, r"unknown setting 'batch_size'; allowed are accumulate_steps"),
        ({"directory": "x"}, r"directory comes from TFX"),
        ({"workers": 0}, r"workers=0"),
        ({"label": "lat"}, r"'lat'"),
        ({"build_model": "nothing"}, r"a name like 'package.module.build_model'"),
        ({"build_model": "tests.support.flights.nothing"}, r"nothing"),
        ({"checkpoint": {"every": 5}}, r"custom_config.checkpoint"),
    ],
)
def test_run_fn_with_mistake_names_it_and_writes_no_model(fn_args, custom, message):
    fn_args.custom_config = custom
    with pytest.raises(ConfigError, match=message):
        make_run_fn(data.build_model, label=data.LABEL)(fn_args)
    assert not Path(fn_args.serving_model_dir).exists()


def test_run_fn_without_files_says_which(fn_args):
    fn_args.train_files = [str(Path(fn_args.model_run_dir) / "none*")]
    with pytest.raises(DataError, match=r"train_files: .*none"):
        make_run_fn(data.build_model, label=data.LABEL)(fn_args)


def test_run_fn_on_two_workers_writes_one_model(flights, fn_args):
    run = make_run_fn(data.build_model, label=data.LABEL, global_batch_size=500, workers=2, seed=3)
    fn_args.train_steps = 6
    run(fn_args)
    found = answers(flights, fn_args.serving_model_dir)
    assert found.shape == (1000,) and found.std() > 0
    logs = Path(fn_args.model_run_dir) / "worker_logs"
    assert {"worker-0.log", "worker-1.log"} <= {p.name for p in logs.iterdir()}
