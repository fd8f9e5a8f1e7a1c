"""A search space is checked before anything is started, and a draw lands in the setting that it names."""

import pytest

from cluster.tuning.config import SearchConfig
from cluster.tuning.space import settings_of
from engine import ConfigError

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
