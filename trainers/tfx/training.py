"""What each process of a TFX training does: from TFX's FnArgs and the settings to a trained and saved model."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.core.errors import ConfigError
from trainers.config.config import TrainerConfig

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["OWN_SETTINGS", "log_directory", "train_from"]

OWN_SETTINGS = ("build_model", "workers", "log_dir", "max_restarts")
_DEFAULTS = {"global_batch_size": 1024}


def train_from(fn_args: Any, settings: Mapping[str, Any]) -> None:
    """Trains in this process, as one member of the group that TF_CONFIG describes; the chief writes the model."""
    from trainers.export.export import write_saved_model
    from trainers.export.options import ExportOptions
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
    options = ExportOptions(
        transform_graph=graph,
        raw_feature_spec=raw_spec,
        label=config.labels,
        features=feature_names(spec, config.as_json()),
        pad=config.pad,
        data_manifest=train.manifest,
        config=config.as_json(),
        metrics={**result.metrics, **{f"eval_{name}": value for name, value in result.eval_metrics.items()}},
    )
    write_saved_model(result.model, fn_args.serving_model_dir, options)


def _trainer_config(fn_args: Any, settings: Mapping[str, Any]) -> TrainerConfig:
    values: dict[str, Any] = {**_DEFAULTS, **{k: v for k, v in settings.items() if k not in OWN_SETTINGS}}
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
    from transforms.output.open_graph import open_transform_graph, stored_raw_spec

    if graph is not None:
        output = open_transform_graph(graph)
        return output.transformed_feature_spec(), stored_raw_spec(output)
    path = getattr(fn_args, "schema_path", None) or getattr(fn_args, "schema_file", None)
    if not path:
        raise ConfigError("the Trainer has neither a transform graph nor a schema: give it transform_graph or schema")
    import tensorflow as tf
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tensorflow_transform.tf_metadata import schema_utils

    with tf.io.gfile.GFile(path) as file:
        schema = text_format.Parse(file.read(), schema_pb2.Schema())
    spec = schema_utils.schema_as_feature_spec(schema).feature_spec
    return spec, spec


def _open(patterns: Sequence[str] | str, spec: Mapping[str, Any], which: str) -> Dataset:
    from engine import Dataset
    from engine.core.errors import DataError

    try:
        return Dataset.open([patterns] if isinstance(patterns, str) else list(patterns), feature_spec=spec)
    except DataError as error:
        raise DataError(f"{which}: {error}") from error


def _resolve(build_model: Callable[[Any], Any] | str | None) -> Callable[[Any], Any]:
    if callable(build_model):
        return build_model
    if not isinstance(build_model, str) or "." not in build_model:
        raise ConfigError(
            f"custom_config.build_model={build_model!r}: it must be a name like 'package.module.build_model'"
        )
    module, _, name = build_model.rpartition(".")
    try:
        found: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"custom_config.build_model={build_model!r}: {error}") from error
    return found


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
