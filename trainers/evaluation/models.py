"""The models of an evaluation, loaded, with the outputs that it judges."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.core.errors import ConfigError

if TYPE_CHECKING:
    from trainers.export.predict import LoadedModel

__all__ = ["loaded_models"]


def loaded_models(
    path: str | os.PathLike[str], baseline: str | os.PathLike[str] | None, labels: Mapping[str | None, str]
) -> dict[str, LoadedModel]:
    """Returns the models that an evaluation asks, by role: "model", and "baseline" where there is one.

    Args:
        path: of the model, one version.
        baseline: of another model of the same kind, or None.
        labels: output to its label; with several, models answer with every output.

    Raises:
        ConfigError: a model has no output of that name.
    """
    from trainers.export.predict import LoadedModel

    several = len(labels) > 1
    output = next(iter(labels))
    models = {"model": LoadedModel(path, output, every_output=several)}
    if baseline is not None:
        models["baseline"] = LoadedModel(baseline, output, every_output=several)
    for model in models.values():
        for name in labels:
            if name is not None and name not in model.outputs:
                raise ConfigError(f"output {name!r} not found; {model.path} has {', '.join(model.outputs)}")
    return models
