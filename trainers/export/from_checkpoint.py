"""From a checkpoint on disk to a served model, without the strategy and the workers that trained it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.core.errors import ConfigError, DataError
from engine.schema.schema_proto import as_feature_spec
from engine.storage.tree import is_local
from engine.storage.uris import require_local
from trainers.export.export import export_saved_model
from trainers.export.options import ExportOptions
from trainers.models.context import ModelContext
from trainers.models.inputs import feature_names

if TYPE_CHECKING:
    from trainers.checkpoints.checkpoint import Checkpoint

__all__ = ["check_export", "create_variables", "export_checkpoint", "rebuild_model"]


def export_checkpoint(
    checkpoint: str | os.PathLike[str],
    build_model: Callable[[ModelContext], Any],
    out: str | os.PathLike[str],
    *,
    transform_graph: str | os.PathLike[str] | None,
    raw_feature_spec: Mapping[str, Any] | None = None,
    use_average: bool | None = None,
    data_manifest: Any = None,
    metrics: Mapping[str, Any] | None = None,
    samples: Sequence[bytes] = (),
    version: int | None = None,
) -> Path:
    """Returns the path of the new version OUT/VERSION of a model that a `Trainer` saved.

    The model is built anew in this process, on one device; label, hyperparameters and precision are those that the
    checkpoint was written with.

    Args:
        checkpoint: a checkpoint, or a training directory: its best checkpoint where early stopping restores the best, else
            the last.
        build_model: the function of the training.
        out: directory of all versions of the model.
        transform_graph: see `ExportOptions`.
        raw_feature_spec: see `ExportOptions`; needed where there is no transform graph.
        use_average: export the moving averages of the weights; None does where the checkpoint has them.
        data_manifest: see `ExportOptions`; None takes what the checkpoint says.
        metrics: for the card; None takes the last of the training's history.
        samples: see `ExportOptions`.
        version: 1 or more; None takes the next.

    Raises:
        CheckpointError: no checkpoint there, or one of another model.
        ConfigError: see `export_saved_model`.
    """
    from trainers.checkpoints.checkpoint import load_checkpoint

    require_local("out", out)
    raw_feature_spec = as_feature_spec(raw_feature_spec)
    saved = load_checkpoint(os.fspath(checkpoint))
    model, context = rebuild_model(
        saved.path, build_model, transform_graph, feature_spec=raw_feature_spec, use_average=use_average
    )
    config = saved.state.get("config", {})
    options = ExportOptions(
        transform_graph=transform_graph,
        raw_feature_spec=raw_feature_spec,
        label=list(context.label_spec),
        features=list(context.feature_spec),
        pad=config.get("pad"),
        data_manifest=data_manifest or saved.state.get("feed", {}).get("manifest"),
        config={**config, "checkpoint_step": saved.step},
        metrics=_last_metrics(saved.state) if metrics is None else metrics,
        samples=samples,
        checkpoint={"path": os.path.abspath(saved.path) if is_local(saved.path) else saved.path, **saved.identity},
    )
    return export_saved_model(model, out, options, version=version)


def rebuild_model(
    checkpoint: str | os.PathLike[str],
    build_model: Callable[[ModelContext], Any],
    transform_graph: str | os.PathLike[str] | None,
    *,
    feature_spec: Mapping[str, Any] | None = None,
    use_average: bool | None = None,
) -> tuple[Any, ModelContext]:
    """Returns the model of a checkpoint with its weights, and the context that it was built with.

    Args:
        checkpoint: a checkpoint or training directory.
        build_model: the function of the training.
        transform_graph: TFT's output, which says what features there are; or None.
        feature_spec: features of the training data with label and weight, where there is no graph.
        use_average: take moving averages of the weights; None does where the checkpoint has them.

    Raises:
        ConfigError: no features are known, or the label is none of them.
    """
    from trainers.checkpoints.checkpoint import load_checkpoint
    from trainers.models.precision import precision_policy
    from trainers.models.variables import named_variables, take_compiled_state
    from transforms.output.open_graph import open_transform_graph

    saved = load_checkpoint(os.fspath(checkpoint))
    config = saved.state.get("config", {})
    output = None if transform_graph is None else open_transform_graph(transform_graph)
    if output is None and feature_spec is None:
        raise ConfigError("without a transform graph the features of the data are needed: give raw_feature_spec")
    spec = dict(output.transformed_feature_spec() if output is not None else feature_spec or {})
    label = config.get("label")
    labels = [label] if isinstance(label, str) else list(label or [])
    unknown = [name for name in labels if name not in spec]
    if unknown:
        raise ConfigError(
            f"{saved.path} was trained with label {unknown[0]!r}, which is not among the features {', '.join(sorted(spec))}"
        )
    context = ModelContext(
        feature_spec={k: spec[k] for k in feature_names(spec, config)},
        label_spec={k: spec[k] for k in labels},
        transform_output=output,
        hyperparameters=dict(config.get("hyperparameters") or {}),
        steps=saved.step,
        pad=config.get("pad") or {},
    )
    with precision_policy(config.get("precision", "float32")):
        model = build_model(context)
        create_variables(model, context)
    as_built = named_variables(model, trained=True)
    take_compiled_state(model)
    averaged = bool(saved.state["variables"].get("average"))
    _restore(model, saved, averaged if use_average is None else use_average, as_built)
    return model, context


def check_export(
    version_dir: str | os.PathLike[str],
    model: Any,
    raw: Any,
    transform_graph: str | os.PathLike[str],
    *,
    rows: int = 1024,
    tolerance: float = 1e-6,
    pad: Mapping[str, Any] | None = None,
) -> float:
    """Returns the largest difference between the answers of an exported model and of the model in memory.

    The exported model gets raw rows; the model in memory gets what the transform graph, loaded by itself, makes of them.

    Args:
        version_dir: the exported SavedModel.
        model: the model it was made from.
        raw: raw `engine.Dataset`.
        transform_graph: TFT's output.
        rows: the first so many rows are compared.
        tolerance: most that two answers may differ by.
        pad: list feature to its padding, as the context of `rebuild_model` has it.

    Raises:
        DataError: they differ by more.
    """
    import numpy as np
    import tensorflow as tf

    from trainers.export.forward import ForwardPass
    from trainers.export.inputs import batch_features, tensor_names
    from trainers.export.predict import LoadedModel, batch_tensors
    from transforms.output.open_graph import open_transform_graph

    served = LoadedModel(version_dir)
    layer = open_transform_graph(transform_graph).transform_features_layer()
    spec = {name: feature for name, feature in raw.feature_spec().items() if name in served.columns([])}
    forward, names = ForwardPass(model, pad), tensor_names(spec)
    worst, left = 0.0, rows
    for batch in raw.read_batches(batch_rows=min(rows, 8192), columns=served.columns([])):
        part = batch.slice(0, left)
        tensors = {name: tf.constant(value) for name, value in batch_tensors(part, spec, names).items()}
        answers = forward(layer(batch_features(tensors, spec, names)))
        expected = np.asarray(answers[served.output])
        found = served.predict(part)
        worst = max(worst, float(np.max(np.abs(found - expected.reshape(found.shape)), initial=0.0)))
        left -= part.num_rows
        if left <= 0:
            break
    if not worst <= tolerance:
        raise DataError(
            f"the exported model answers up to {worst:.3g} away from the trained one, at most {tolerance:g} is allowed; "
            "a layer that behaves otherwise when it is saved does this",
            path=os.fspath(version_dir),
        )
    return worst


def create_variables(model: Any, context: ModelContext) -> None:
    """Makes the variables of a model that makes them at its first call, with one row of zeros."""
    import tensorflow as tf

    from trainers.export.forward import call_for_inference
    from trainers.export.inputs import blank_feature, can_be_blank
    from trainers.models.variables import is_keras_model

    # A layer of Keras in a tf.Module makes its variables at its first call, whatever variables the module has already.
    if is_keras_model(model) and model.built and model.variables:
        return
    if not is_keras_model(model) and model.variables and not all(map(can_be_blank, context.feature_spec.values())):
        return  # as far as it has them: no row is known to call it with
    features = {name: blank_feature(feature, tf.constant(1)) for name, feature in context.feature_spec.items()}
    call_for_inference(model, context.pad)(features)  # tf_keras lists no weights of a Sequential before its first call


def _restore(model: Any, checkpoint: Checkpoint, use_average: bool, as_built: list[tuple[str, Any]]) -> None:
    """Puts the weights of a checkpoint, or their moving averages, into a model of the same architecture whose variables exist.

    An earlier version averaged what was trained of the model as it was built, whatever had been when it was compiled.
    """
    from trainers.checkpoints.checkpoint import assign_group
    from trainers.compat.keras import renew_constants
    from trainers.models.variables import named_variables
    from trainers.tables.table import tables_of

    assign_group(checkpoint, "model", named_variables(model))
    checkpoint.restore_tables(tables_of(model), training=False)
    if use_average:
        saved = checkpoint.state["variables"].get("average")
        if not saved:
            raise ConfigError(f"{checkpoint.path}: it has no moving averages: it was trained without ema_decay")
        trained = named_variables(model, trained=True)
        fits = len(trained) == len(saved) or len(as_built) != len(saved)
        assign_group(checkpoint, "average", trained if fits else as_built)
    renew_constants(model)


def _last_metrics(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the evaluation of exactly this checkpoint where there was one, else the last before it."""
    history = state.get("training", {}).get("history") or []
    return dict(history[-1]) if history else {}
