"""Steps are wired once: the command line and the pipeline have the fields of the step's config, with its defaults."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json

import pytest

import cluster.pipeline as pipeline
from cluster.cli.main import build_parser
from engine.core.errors import ConfigError

STEPS = ("stats", "validate", "analyze", "transform", "train", "export", "evaluate", "push")
# Repeatable flags are named in the singular.
# What the pipeline sets itself, the command from its flags.
PLACES = ("directory", "label")
# What only a pipeline has, whose data are in two parts.
PIPELINE_ONLY = ("split_drift",)
FLAGS = {
    "runner_options": "--runner-option",
    "slices": "--slice",
    "features": "--feature",
    "metrics": "--metric",
    "labels": "--label",
    "thresholds": "--threshold",
}


def config_of(step: str) -> type:
    return getattr(importlib.import_module(f"cluster.steps.{step}"), f"{step.capitalize()}Config")


def flags_of(step: str) -> dict[str, argparse.Action]:
    parser = build_parser(step)[0]
    (commands,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {flag: action for action in commands.choices[step]._actions for flag in action.option_strings}


@pytest.mark.parametrize("step", STEPS)
def test_every_setting_of_a_step_is_a_flag_with_the_same_default(step):
    flags = flags_of(step)
    by_name = {action.dest: action for action in flags.values()}
    for field in dataclasses.fields(config_of(step)):
        if field.name in PIPELINE_ONLY:
            continue
        flag = FLAGS.get(field.name, "--" + field.name.replace("_", "-"))
        action = flags.get(flag) or by_name.get(field.name)
        if action is None and "--set" in flags:
            continue  # by its own name, see below
        assert action is not None, f"{step} has no flag {flag}"
        default = (
            field.default_factory() if field.default is dataclasses.MISSING and not action.required else field.default
        )
        if action.required:
            assert field.default is dataclasses.MISSING or field.name in PLACES
        elif field.name not in PLACES:
            assert (action.default or None) == (default or None), field.name


@pytest.mark.parametrize("step", STEPS)
def test_the_pipeline_takes_the_step_config_itself(step):
    hints = {field.name: field.type for field in dataclasses.fields(pipeline.Pipeline)}
    assert hints[step] == f"{step.capitalize()}Config | None"
    assert getattr(pipeline, f"{step.capitalize()}Config") is config_of(step)


def test_train_takes_every_setting_by_its_name_and_hands_all_to_its_workers():
    from cluster.cli.commands.train import config_from
    from cluster.steps.train import TrainConfig
    from engine.core.configs import decode, encode

    words = ["--module", "m.py", "--out", "o", "--epochs", "3", "--label", "late", "--param", "units=[16, 8]"]
    more = ["xla=true", "checkpoint.keep=5", 'early_stopping={"metric": "auc", "mode": "max"}', "class_weights.1=4.5"]
    given = build_parser("train")[0].parse_args(["train", "data", *words, *(w for m in more for w in ("--set", m))])
    config = config_from(given)
    assert (config.xla, config.checkpoint.keep, config.early_stopping.metric) == (True, 5, "auc")
    assert (config.class_weights, config.hyperparameters) == ({1: 4.5}, {"units": [16, 8]})
    assert (config.directory, config.label, config.epochs, config.global_batch_size) == ("o", "late", 3, 1024)
    assert decode(TrainConfig, json.loads(json.dumps(encode(config)))) == config
    for wrong, message in (("xls=true", "did you mean 'xla'"), ("checkpoint=5", "checkpoint: got 5; expected a table")):
        with pytest.raises(ConfigError, match=message):
            config_from(build_parser("train")[0].parse_args(["train", "data", *words, "--set", wrong]))
