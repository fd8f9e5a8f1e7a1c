"""The training loop as a TFX Trainer's `run_fn`.

A TFX module file:

    from my_model import build_model, preprocessing_fn
    from trainers.tfx import make_run_fn

    run_fn = make_run_fn(build_model, label="late")

TFX itself is not imported: `fn_args` is anything with the attributes of TFX's FnArgs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from engine.core.errors import ConfigError
from trainers.config.config import TrainerConfig
from trainers.tfx.training import OWN_SETTINGS, train_from

__all__ = ["make_run_fn", "run_fn"]

_FIXED = ("directory", "hyperparameters", "warm_start")


def make_run_fn(build_model: Callable[[Any], Any] | str, **options: Any) -> Callable[[Any], None]:
    """Returns a `run_fn(fn_args)` for TFX's Trainer component.

    Args:
        build_model: makes the compiled model from a `ModelContext`; or its name, "package.module.function".
        **options: fields of `TrainerConfig` (label, weight, global_batch_size, epochs, strategy, ...); `workers`: supervised
            processes on this machine, 1 or more. `custom_config` of the Trainer component has the same keys and goes first.

    Raises:
        ConfigError: an unknown option.
    """
    _check_known(options, "make_run_fn")

    def run(fn_args: Any) -> None:
        _run(fn_args, {"build_model": build_model, **options, **_custom(fn_args)})

    run.__name__ = run.__qualname__ = "run_fn"
    run.__doc__ = "Trains the model on TFX's transformed examples and writes it to `fn_args.serving_model_dir`."
    return run


def run_fn(fn_args: Any) -> None:
    """Trains a model on TFX's transformed examples and writes it to `fn_args.serving_model_dir`.

    For `Trainer(run_fn="trainers.tfx.run_fn", custom_config={"build_model": "package.module.function", "label": ...})`; all
    settings are in `custom_config`.

    Args:
        fn_args: TFX's FnArgs.

    Raises:
        ConfigError: a setting that is missing, unknown or cannot work.
    """
    _run(fn_args, _custom(fn_args))


def _run(fn_args: Any, settings: dict[str, Any]) -> None:
    _check_known(settings, "custom_config")
    workers = settings.get("workers", 1)
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise ConfigError(f"workers={workers!r}: a whole number, at least 1")
    if workers > 1:
        from trainers.tfx.workers import run_workers

        run_workers(fn_args, settings, workers)
    else:
        train_from(fn_args, settings)


def _custom(fn_args: Any) -> dict[str, Any]:
    return dict(fn_args.custom_config or {})


def _check_known(settings: Mapping[str, Any], where: str) -> None:
    fields = [f.name for f in dataclasses.fields(TrainerConfig) if f.name not in _FIXED]
    for key in settings:
        if key in _FIXED:
            raise ConfigError(
                f"{where}: {key} comes from TFX (model_run_dir, hyperparameters, base_model); leave it out"
            )
        if key not in fields and key not in OWN_SETTINGS:
            raise ConfigError(
                f"{where}: unknown setting {key!r}; allowed are {', '.join(sorted([*fields, *OWN_SETTINGS]))}"
            )
