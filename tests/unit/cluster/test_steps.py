"""Steps are wired once: the command line and the pipeline have the fields of the step's config, with its defaults."""

from __future__ import annotations

import argparse
import dataclasses
import importlib

import pytest

import cluster.pipeline as pipeline
from cluster.cli.main import build_parser

STEPS = ("analyze", "transform", "export", "evaluate", "push")
# Repeatable flags are named in the singular.
FLAGS = {"runner_options": "--runner-option", "slices": "--slice", "metrics": "--metric", "thresholds": "--threshold"}


def config_of(step: str) -> type:
    return getattr(importlib.import_module(f"cluster.steps.{step}"), f"{step.capitalize()}Config")


def flags_of(step: str) -> dict[str, argparse.Action]:
    parser = build_parser(step)[0]
    (commands,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {flag: action for action in commands.choices[step]._actions for flag in action.option_strings}


@pytest.mark.parametrize("step", STEPS)
def test_every_setting_of_a_step_is_a_flag_with_the_same_default(step):
    flags = flags_of(step)
    for field in dataclasses.fields(config_of(step)):
        action = flags[FLAGS.get(field.name, "--" + field.name.replace("_", "-"))]
        default = (
            field.default_factory() if field.default is dataclasses.MISSING and not action.required else field.default
        )
        if action.required:
            assert field.default is dataclasses.MISSING
        else:
            assert (action.default or None) == (default or None), field.name


@pytest.mark.parametrize("step", STEPS)
def test_the_pipeline_takes_the_step_config_itself(step):
    hints = {field.name: field.type for field in dataclasses.fields(pipeline.Pipeline)}
    assert hints[step] == f"{step.capitalize()}Config | None"
    assert getattr(pipeline, f"{step.capitalize()}Config") is config_of(step)
