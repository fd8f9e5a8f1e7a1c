"""The context that build_model is called with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.core.errors import ConfigError
from trainers.config.config import TrainerConfig
from trainers.models.inputs import feature_names

if TYPE_CHECKING:
    from engine.feed.protocols import TrainingData

__all__ = ["ModelContext", "context_of"]


@dataclass(frozen=True, kw_only=True)
class ModelContext:
    """What a `build_model(context)` needs to know.

    Args:
        feature_spec: parsing specification of the transformed features by name, without label and weight.
        label_spec: the same of the labels.
        transform_output: a `tft.TFTransformOutput`, e.g. for vocabulary sizes, or None where nothing was transformed.
        hyperparameters: as the configuration has them.
        steps: optimizer steps of the whole training, e.g. for a schedule; None where it is not known.
        pad: list feature to its padding, as the configuration has it; such a feature comes dense, beside NAME_mask.
    """

    feature_spec: Mapping[str, Any]
    label_spec: Mapping[str, Any] = field(default_factory=dict)
    transform_output: Any = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    pad: Mapping[str, Any] = field(default_factory=dict)


def context_of(
    config: TrainerConfig, data: TrainingData, transform_graph: str | None, total_steps: int
) -> ModelContext:
    """Returns the context that `build_model` is called with.

    Args:
        config: settings.
        data: the training data.
        transform_graph: output directory of `transforms.analyze`, or None.
        total_steps: optimizer steps of the training.

    Raises:
        ConfigError: the data has no field of a label's, the weight's or a chosen feature's name, or the weight is no number.
    """
    spec = dict(data.feature_spec())
    others = {*config.labels, *([config.weight] if config.weight else [])}
    missing = sorted(others - set(spec))
    if missing:
        raise ConfigError(f"label or weight {missing[0]!r} not found; the data has {', '.join(sorted(spec))}")
    _check_weight(config.weight, spec)
    chosen = feature_names(spec, config.as_json())
    return ModelContext(
        feature_spec={k: spec[k] for k in chosen},
        label_spec={k: spec[k] for k in config.labels},
        transform_output=_transform_output(transform_graph),
        hyperparameters=dict(config.hyperparameters),
        steps=total_steps,
        pad=config.pad,
    )


def _check_weight(name: str | None, spec: Mapping[str, Any]) -> None:
    """Raises a ConfigError for weights that are not one number a record."""
    if name is None:
        return
    feature = spec[name]
    shape, kind = tuple(getattr(feature, "shape", ())), feature.dtype.name
    one = type(feature).__name__ == "FixedLenFeature" and all(size == 1 for size in shape)
    if not one or kind == "string":
        raise ConfigError(
            f"weight {name!r} is {type(feature).__name__} of {kind} {list(shape)}: give a column with one number in every record; "
            "weights of the steps of a list are given by a mask or in the model's own compute_loss"
        )


def _transform_output(graph: str | None) -> Any:
    if graph is None:
        return None
    from transforms.output.open_graph import open_transform_graph

    return open_transform_graph(graph)
