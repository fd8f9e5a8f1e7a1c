"""The run of Ray Tune that a search is: begun, or restored where it was interrupted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from cluster.launchers.ray.own_ray import LOCAL, import_for_own_ray, start_own_ray
from cluster.tuning.config import SearchConfig
from cluster.tuning.trial import run_trial
from engine.core.errors import ConfigError
from engine.core.progress import Progress

__all__ = ["fit", "import_tune"]


def import_tune(config: SearchConfig) -> Any:
    """Returns `ray.tune`, imported with its own telemetry and tables off.

    Raises:
        ConfigError: Ray, or the sampler that the search asks for, is not installed.
    """
    # Ray would write its own telemetry and results tables.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        if config.address in (None, LOCAL):
            import_for_own_ray()
        from ray import tune

        if config.sampler == "optuna":
            import optuna  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"a search needs {error.name}: pip install 'fullpass[tune]'") from None
    return tune


def fit(tune: Any, config: SearchConfig, job: Mapping[str, Any]) -> Any:
    """Runs the trials and returns Ray's results; a Ray that was started for them ends with them."""
    import ray

    started = not ray.is_initialized()
    if started and config.address in (None, LOCAL):
        start_own_ray(logging_level="ERROR")
    elif started:
        ray.init(address=config.address, log_to_driver=False, logging_level="ERROR")
    try:
        trainable = tune.with_resources(
            tune.with_parameters(run_trial, job=dict(job)), {"cpu": config.cpus, "gpu": config.gpus}
        )
        return _tuner(tune, config, job["out"], trainable).fit()
    finally:
        if started:
            ray.shutdown()


def _tuner(tune: Any, config: SearchConfig, out: str, trainable: Any) -> Any:
    home = os.path.join(out, "ray", "search")
    # A search that was interrupted goes on: trials that came to their end are not run again.
    if tune.Tuner.can_restore(home):
        return tune.Tuner.restore(home, trainable=trainable, resume_unfinished=True, restart_errored=True)
    scheduler = None
    if config.scheduler == "asha":
        scheduler = tune.schedulers.ASHAScheduler(
            time_attr="evaluations",
            metric=config.metric,
            mode=config.mode,
            grace_period=config.grace_evaluations,
            reduction_factor=config.reduction,
            max_t=1_000_000,  # a trial ends when its training does, never by this count
        )
    if config.sampler == "optuna":
        from ray.tune.search.optuna import OptunaSearch

        sampler = OptunaSearch(metric=config.metric, mode=config.mode, seed=config.seed)
    else:
        sampler = tune.search.BasicVariantGenerator(random_state=config.seed)
    return tune.Tuner(
        trainable,
        param_space={name: _draw(tune, draw) for name, draw in config.search.items()},
        tune_config=tune.TuneConfig(
            num_samples=config.trials,
            scheduler=scheduler,
            search_alg=sampler,
            max_concurrent_trials=config.concurrent,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=os.path.join(out, "ray"),
            failure_config=tune.FailureConfig(max_failures=config.restarts),
            verbose=0,
            callbacks=[_progress(tune, config.trials)],
        ),
    )


def _draw(tune: Any, draw: Mapping[str, Any]) -> Any:
    ((kind, values),) = draw.items()
    if kind == "grid":
        return tune.grid_search(list(values))
    return tune.choice(list(values)) if kind == "choice" else getattr(tune, kind)(*values)


def _progress(tune: Any, trials: int) -> Any:
    class Shown(tune.Callback):  # type: ignore[misc]
        """A bar on a terminal, a line now and then in a log."""

        def setup(self, **_: Any) -> None:
            self._bar = Progress("tune", trials, "trials").__enter__()

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            self._bar.advance(1)

        def on_experiment_end(self, trials: Any, **_: Any) -> None:
            self._bar.__exit__(None, None, None)

    return Shown()
