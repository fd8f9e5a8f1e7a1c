"""A search space is checked before anything is started, and a draw lands in the setting that it names."""

import json

import pytest

from cluster.tuning import search
from cluster.tuning.config import SearchConfig
from cluster.tuning.search import run
from cluster.tuning.space import examples_of, settings_of
from engine import ConfigError, DataError
from engine.machine.lock import locked

RATE = {"hyperparameters.rate": {"loguniform": [1e-4, 1e-1]}}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "search: got {}; expected at least one setting"),
        ({"steps": {"choice": [1]}}, "search.steps: .*steps is the same in all trials"),
        ({"x": 3}, "search.x: got 3; expected one of choice, grid, uniform"),
        ({"x": {"normal": [0, 1]}}, "search.x: .*expected one of choice"),
        ({"x": {"choice": []}}, r"search.x.choice: got \[\]; expected a list of values"),
        ({"x": {"uniform": [2, 1]}}, r"search.x.uniform: got \[2, 1\]; expected .*first less than the second"),
        ({"x": {"uniform": [0, float("inf")]}}, "search.x.uniform: .*first less than the second"),
        ({"x": {"loguniform": [0, 1]}}, "search.x.loguniform: .*both more than 0"),
        ({"x": {"randint": [0.5, 2]}}, "search.x.randint: .*whole numbers"),
    ],
)
def test_wrong_space_is_refused_by_name(space, message):
    with pytest.raises(ConfigError, match=message):
        SearchConfig(search=space)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "best"}, "mode: got 'best'"),
        ({"trials": 0}, "trials: got 0"),
        ({"reduction": 1}, "reduction: got 1"),
        (
            {"sampler": "optuna", "search": {"x": {"grid": [1]}}},
            "sampler: got 'optuna'; expected 'random', since a draw is 'grid'",
        ),
    ],
)
def test_wrong_settings_are_refused_by_name(settings, message):
    with pytest.raises(ConfigError, match=message):
        SearchConfig(**{"search": RATE, **settings})


def test_draw_changes_its_setting_and_no_other():
    base = {"global_batch_size": 64, "hyperparameters": {"units": 8}, "learning_rate": None}
    drawn = {"hyperparameters.rate": 0.1, "learning_rate.peak": 0.5, "global_batch_size": 32}
    assert settings_of(base, drawn) == {
        "global_batch_size": 32,
        "hyperparameters": {"units": 8, "rate": 0.1},
        "learning_rate": {"peak": 0.5},
    }
    assert base == {"global_batch_size": 64, "hyperparameters": {"units": 8}, "learning_rate": None}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"hyperparameter.rate": {"choice": [1]}}, "hyperparameter: unknown key"),
        ({"global_batch_size": {"choice": [8, 16, "large"]}}, "global_batch_size: got 'large'"),
        ({"clip_norm": {"uniform": [-1.0, 1.0]}}, "clip_norm: got -1.0"),
        ({"precision.kind": {"choice": [1]}}, "search.precision.kind: precision is 'float32'"),
    ],
)
def test_what_no_training_takes_is_refused_before_the_first_trial(tmp_path, space, message):
    job = {
        "config": {"precision": "float32", "epochs": 1},
        "eval": ["e"],
        "out": str(tmp_path / "out"),
        "module": "m.py",
    }
    with pytest.raises(ConfigError, match=message):
        run(SearchConfig(search=space), job)
    assert not (tmp_path / "out").exists()


def test_ends_that_are_never_drawn_are_no_examples():
    (low, high) = [draw["rate"] for draw in examples_of({"rate": {"uniform": [0, 1]}})]
    assert low == 0 and 0.999 < high < 1
    assert [draw["n"] for draw in examples_of({"n": {"lograndint": [1, 8]}})] == [1, 7]
    assert [draw["n"] for draw in examples_of({"n": {"choice": [1, 8]}})] == [1, 8]


def test_second_search_in_a_directory_waits_for_nobody(tmp_path):
    job = {"config": {"epochs": 1}, "eval": ["e"], "out": str(tmp_path), "module": "m.py"}
    with locked(tmp_path), pytest.raises(ConfigError, match=r"process \d+ searches there"):
        run(SearchConfig(search=RATE), job)


class Ended(list):
    """Results of a search as Ray gives them."""

    errors = ()


def test_what_a_trial_said_is_believed_where_it_is_whole_and_of_its_own_directory(tmp_path):
    config = SearchConfig(search=RATE, metric="loss", mode="min")
    said = {"directory": "/somewhere/else", "drawn": {"rate": 0.1}, "metrics": {"loss": 0.5}, "checkpoint": "step-1"}
    own = tmp_path / "trials" / "00000" / search.TRIAL_FILE
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps(said))
    assert search._judged(config, tmp_path, Ended([1])).best.directory == str(own.parent)
    assert json.loads((tmp_path / search.BEST_FILE).read_text())["directory"] == "trials/00000"
    forged = [{**said, "metrics": value} for value in ([], {"loss": "x"}, 1)] + [
        {**said, "drawn": None},
        {**said, "checkpoint": 5},
    ]
    for text in ("", "[]", "null", "[" * 100_000, *map(json.dumps, forged)):
        own.write_text(text)
        with pytest.raises(DataError, match=f"{own}: is damaged"):
            search._judged(config, tmp_path, Ended([1]))


def test_damaged_settings_of_a_search_are_named(tmp_path):
    settings = {"search": {"mode": "min"}, "job": {"module": "m.py"}}
    path = tmp_path / "settings.json"
    search._check_same(path, settings)
    search._check_same(path, settings)
    with pytest.raises(ConfigError, match=r"another job\.module"):
        search._check_same(path, {**settings, "job": {"module": "n.py"}})
    for text in ("", "[]", "{}", '{"search": [], "job": 1}', "[" * 100_000):
        path.write_text(text)
        with pytest.raises(DataError, match=f"{path}: .*give another --out"):
            search._check_same(path, settings)
