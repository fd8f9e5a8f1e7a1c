"""The search as the `tuner_fn` of TFX's Tuner component, whose result our `run_fn` takes as hyperparameters.

    from cluster.tuning.tfx import make_tuner_fn
    from my_model import build_model

    tuner_fn = make_tuner_fn(build_model, label="late", search={"hyperparameters.rate": {"loguniform": [1e-4, 1e-1]}})

TFX itself is not imported: `fn_args` is anything with the attributes of TFX's FnArgs.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from cluster.steps.train import TrainConfig
from cluster.tuning import search
from cluster.tuning.config import SearchConfig
from engine.core.configs import decode, encode, refusal, require

__all__ = ["TunerFnResult", "make_tuner_fn"]

_PREFIX = "hyperparameters."
_SEARCH = {field.name for field in dataclasses.fields(SearchConfig)}


class TunerFnResult(NamedTuple):
    """What TFX's Tuner asks of a `tuner_fn`."""

    tuner: Any
    fit_kwargs: dict[str, Any]


def make_tuner_fn(build_model: Callable[[Any], Any], **options: Any) -> Callable[[Any], TunerFnResult]:
    """Returns a `tuner_fn(fn_args)` for TFX's Tuner component.

    Args:
        build_model: a function of a file, which each trial loads by itself.
        **options: fields of `SearchConfig` (search, trials, metric, ...) and of `TrainerConfig` (label, global_batch_size, ...).
            `custom_config` of the component has the same keys and goes first. What is searched must be a hyperparameter:
            TFX hands nothing else to the Trainer.

    Raises:
        ConfigError: an unknown option, or a search for something else.
    """

    def tuner_fn(fn_args: Any) -> TunerFnResult:
        return TunerFnResult(_tuner(fn_args, build_model, {**options, **(fn_args.custom_config or {})}), {})

    return tuner_fn


def _tuner(fn_args: Any, build_model: Callable[[Any], Any], options: dict[str, Any]) -> _Tuner:
    module = inspect.getsourcefile(build_model)
    require(module is not None, "build_model", build_model, "a function that is written in a file")
    config = decode(SearchConfig, {name: value for name, value in options.items() if name in _SEARCH})
    for name in config.search:
        if not name.startswith(_PREFIX):
            raise refusal("search", name, f"{_PREFIX}NAME: TFX hands nothing else from the Tuner to the Trainer")
    settings = {name: value for name, value in options.items() if name not in _SEARCH}
    if fn_args.train_steps:
        settings |= {"steps": fn_args.train_steps, "epochs": None}
    elif "steps" not in settings:
        settings.setdefault("epochs", 1)
    if fn_args.eval_steps:
        settings["eval_steps"] = fn_args.eval_steps
    graph = getattr(fn_args, "transform_graph_path", None)
    schema = os.path.join(graph, "transformed_metadata", "schema.pbtxt") if graph else fn_args.schema_path
    trained = decode(TrainConfig, {**settings, "build_model": build_model.__name__})
    job = {
        "config": encode(trained), "module": module, "data": list(fn_args.train_files), "eval": list(fn_args.eval_files),
        "graph": graph, "feature_spec": schema, "filters": [], "eval_filters": [],
        "out": os.path.join(fn_args.working_dir, "search"),
    }  # fmt: skip
    return _Tuner(config, job)


@dataclasses.dataclass(frozen=True)
class _Chosen:
    """Hyperparameters in the form of KerasTuner's, as far as TFX reads it."""

    values: dict[str, Any]

    def get_config(self) -> dict[str, Any]:
        return {"space": [], "values": self.values}


class _Tuner:
    """A search with the methods that TFX calls."""

    tuner_id = "fullpass"

    def __init__(self, config: SearchConfig, job: dict[str, Any]) -> None:
        self._config, self._job = config, job
        self._result: search.SearchResult | None = None

    def search_space_summary(self) -> None:
        print(f"search for {', '.join(f'{name}: {draw}' for name, draw in self._config.search.items())}")

    def search(self) -> None:
        self._result = search.run(self._config, self._job)

    def results_summary(self) -> None:
        if self._result is not None:
            print(
                f"best of {len(self._result.finished)} finished trials: {self._result.best.drawn} {self._result.best.metrics}"
            )

    def get_best_hyperparameters(self, num_trials: int = 1) -> list[_Chosen]:
        if self._result is None:
            return []
        best = [trial.drawn for trial in self._result.finished[:num_trials]]
        shared = self._job["config"].get("hyperparameters") or {}
        return [_Chosen({**shared, **{k.removeprefix(_PREFIX): v for k, v in drawn.items()}}) for drawn in best]
