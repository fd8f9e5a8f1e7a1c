"""The training loop as a TFX Trainer's `run_fn`.

A TFX module file:

    from my_model import build_model, preprocessing_fn
    from trainers.tfx import make_run_fn

    run_fn = make_run_fn(build_model, label="late")

TFX itself is not imported: `fn_args` is anything with the attributes of TFX's FnArgs.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.core.errors import ConfigError
from trainers.config.config import TrainerConfig

__all__ = ["make_run_fn", "run_fn"]

_OWN = ("build_model", "workers", "log_dir", "max_restarts")
_FIXED = ("directory", "hyperparameters", "warm_start")
_DEFAULTS = {"global_batch_size": 1024}


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
    settings stand in `custom_config`.

    Args:
        fn_args: TFX's FnArgs.

    Raises:
        ConfigError: a setting that is missing, unknown or cannot work.
    """
    _run(fn_args, _custom(fn_args))


def train_from(fn_args: Any, settings: Mapping[str, Any]) -> None:
    """Trains in this process, as one member of the group that TF_CONFIG describes; the chief writes the model."""
    from trainers.export.export import write_saved_model
    from trainers.loop.trainer import Trainer
    from trainers.models.inputs import feature_names

    graph = _graph(fn_args)
    spec, raw_spec = _feature_specs(fn_args, graph)
    build_model = _resolve(settings.get("build_model"))
    if fn_args.base_model:
        build_model = _warm(build_model, fn_args.base_model)
    config = _trainer_config(fn_args, settings)
    train = _open(fn_args.train_files, spec, "train_files")
    evaluation = _open(fn_args.eval_files, spec, "eval_files") if fn_args.eval_files else None
    result = Trainer(config, build_model, train, evaluation, transform_graph=graph).fit()
    if not result.is_chief:
        return
    write_saved_model(
        result.model,
        fn_args.serving_model_dir,
        transform_graph=graph,
        raw_feature_spec=raw_spec,
        label=config.labels,
        features=feature_names(spec, config.as_json()),
        pad=config.pad,
        data_manifest=train.manifest,
        config=config.as_json(),
        metrics={**result.metrics, **{f"eval_{name}": value for name, value in result.eval_metrics.items()}},
    )


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
        if key not in fields and key not in _OWN:
            raise ConfigError(f"{where}: unknown setting {key!r}; allowed are {', '.join(sorted([*fields, *_OWN]))}")


def _trainer_config(fn_args: Any, settings: Mapping[str, Any]) -> TrainerConfig:
    values: dict[str, Any] = {**_DEFAULTS, **{k: v for k, v in settings.items() if k not in _OWN}}
    if fn_args.train_steps:
        values["steps"], values["epochs"] = fn_args.train_steps, None
    elif "steps" not in values and "epochs" not in values:
        values["epochs"] = 1
    if fn_args.eval_steps:
        values["eval_steps"] = fn_args.eval_steps
    if not fn_args.model_run_dir:
        raise ConfigError("fn_args.model_run_dir is empty; TFX's Trainer sets it")
    try:
        return TrainerConfig(
            directory=fn_args.model_run_dir, hyperparameters=_hyperparameters(fn_args.hyperparameters), **values
        )
    except ConfigError as error:
        named = re.match(r"\w+", str(error))
        where = "custom_config." if named and named.group() in settings else ""
        raise ConfigError(f"{where}{error}") from None


def _hyperparameters(given: Any) -> dict[str, Any]:
    """Returns name to value, from a plain dict or from the configuration that TFX's Tuner writes."""
    given = dict(given or {})
    return dict(given["values"]) if isinstance(given.get("values"), Mapping) else given


def _graph(fn_args: Any) -> str | None:
    return getattr(fn_args, "transform_graph_path", None) or getattr(fn_args, "transform_output", None) or None


def _feature_specs(fn_args: Any, graph: str | None) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Returns the feature spec of the examples that are read and, where it is known, of the raw ones."""
    import tensorflow as tf
    import tensorflow_transform as tft

    if graph is not None:
        output = tft.TFTransformOutput(graph)
        try:
            raw = output.raw_feature_spec()
        except (OSError, tf.errors.NotFoundError):
            raw = None
        return output.transformed_feature_spec(), raw
    path = getattr(fn_args, "schema_path", None) or getattr(fn_args, "schema_file", None)
    if not path:
        raise ConfigError("the Trainer has neither a transform graph nor a schema: give it transform_graph or schema")
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tensorflow_transform.tf_metadata import schema_utils

    with tf.io.gfile.GFile(path) as file:
        schema = text_format.Parse(file.read(), schema_pb2.Schema())
    spec = schema_utils.schema_as_feature_spec(schema).feature_spec
    return spec, spec


def _open(patterns: Sequence[str] | str, spec: Mapping[str, Any], which: str) -> Any:
    from engine import Dataset
    from engine.core.errors import DataError

    try:
        return Dataset.open([patterns] if isinstance(patterns, str) else list(patterns), feature_spec=spec)
    except DataError as error:
        raise DataError(f"{which}: {error}") from error


def _resolve(build_model: Any) -> Callable[[Any], Any]:
    if callable(build_model):
        return build_model
    if not isinstance(build_model, str) or "." not in build_model:
        raise ConfigError(
            f"custom_config.build_model={build_model!r}: it must be a name like 'package.module.build_model'"
        )
    module, _, name = build_model.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"custom_config.build_model={build_model!r}: {error}") from error


def _warm(build_model: Callable[[Any], Any], base_model: str) -> Callable[[Any], Any]:
    """Returns a build_model whose model starts with the weights of a SavedModel of this project."""

    def build(context: Any) -> Any:
        from trainers.export.from_checkpoint import create_variables
        from trainers.tfx.base_model import load_weights

        model = build_model(context)
        create_variables(model, context)
        load_weights(model, base_model)
        return model

    return build


def log_directory(fn_args: Any) -> str:
    """Returns where the logs of worker processes go."""
    return os.path.join(fn_args.model_run_dir, "worker_logs")
