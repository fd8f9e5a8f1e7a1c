"""train: the user's model through a tf.distribute strategy; a killed training goes on at the next record."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.core.errors import ConfigError
from trainers.config.config import TrainerConfig

if TYPE_CHECKING:
    from engine import Dataset
    from trainers import TrainResult
    from trainers.callbacks.base import Callback

__all__ = ["TrainConfig", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(TrainerConfig):
    """Training with the module's `build_model`: every setting of `trainers.TrainerConfig`, most with a default here.

    The pipeline itself sets `directory` and `label`, the command line has them from --out and --label.

    Attributes:
        build_model: function of the module that gives the model.
        callbacks: function of the module that returns a list of callbacks.
    """

    directory: str = "."
    # A text, since a pipeline has one label: what needs one (class_weights) can be checked before the label is known.
    label: str | Sequence[str] | None = "pipeline.label"
    global_batch_size: int = 1024
    build_model: str = "build_model"
    callbacks: str | None = None

    def trainer(self) -> TrainerConfig:
        """Returns the settings as the trainer takes them."""
        return TrainerConfig(**{field.name: getattr(self, field.name) for field in dataclasses.fields(TrainerConfig)})


def run(
    config: TrainConfig,
    module: str,
    data: Dataset,
    *,
    eval: Dataset | None = None,
    graph: str | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainResult:
    """Returns the result of the training, which begins at the last checkpoint in `config.directory`.

    Args:
        config: settings.
        module: the user's Python file.
        data: what to train on.
        eval: data for the metrics of each evaluation; None for none.
        graph: transform graph of the data, for `context.transform_output`.
        callbacks: besides those of the module.

    Raises:
        ConfigError: a setting, model or feature that cannot work.
        DataError: bad data.
    """
    from cluster.user_code.module import user_function
    from trainers import Trainer

    return Trainer(
        config.trainer(),
        user_function(module, config.build_model),
        data,
        eval=eval,
        transform_graph=graph,
        callbacks=[*_callbacks_of(module, config.callbacks), *callbacks],
        code=_code_of(module, [config.build_model, *([config.callbacks] if config.callbacks else [])]),
    ).fit()


def _code_of(module: str, functions: Sequence[str]) -> dict[str, str]:
    """Returns a digest of each function of the module, for those that are written there: others count by what they come from."""
    from cluster.user_code.code_hash import Parsed, code_hash

    parsed: Parsed = {}
    digests = {name: code_hash(module, name, parsed) for name in functions}
    return {name: digest for name, digest in digests.items() if digest is not None}


def _callbacks_of(module: str, name: str | None) -> list[Any]:
    """Returns the callbacks that a function of the user's module makes, none without one."""
    from cluster.user_code.module import user_function

    if name is None:
        return []
    made = user_function(module, name)()
    if not isinstance(made, (list, tuple)):
        raise ConfigError(f"callbacks: {name} of {module} returned {type(made).__name__}; return a list of callbacks")
    return list(made)
