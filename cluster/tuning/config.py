"""Settings of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.tuning.space import check_space
from engine.core.configs import check_types, require

__all__ = ["SearchConfig"]

_SAMPLERS = ("random", "optuna")
_SCHEDULERS = ("asha", "none")


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """What is searched, how, and with how much of the machine.

    Attributes:
        search: setting to one draw, see docs/tuning.md.
        trials: trainings in all; with `grid` as often each combination is tried.
        metric: key of the evaluation metrics.
        mode: "min" or "max", whichever is better.
        sampler: "random", or "optuna" (its tree-structured Parzen estimator).
        scheduler: "asha" ends trials that are behind after an evaluation, "none" lets all of them train to the end.
        grace_evaluations: evaluations after which a trial may be ended at the earliest.
        reduction: of the trials that reach a rung one in so many goes on.
        cpus, gpus: of one trial; as many trials run at once as these fit into the machine or cluster.
        concurrent: trials at once at most, None for as many as fit.
        restarts: how often a trial whose process died goes on from its last checkpoint.
        seed: of the sampler.
        address: of a running Ray cluster, "auto" for the one of this machine; None starts Ray in this process.
    """

    search: Mapping[str, Any] = field(default_factory=dict)
    trials: int = 10
    metric: str = "loss"
    mode: str = "min"
    sampler: str = "random"
    scheduler: str = "asha"
    grace_evaluations: int = 1
    reduction: int = 3
    cpus: float = 1.0
    gpus: float = 0.0
    concurrent: int | None = None
    restarts: int = 2
    seed: int = 0
    address: str | None = None

    def __post_init__(self) -> None:
        check_types(self)
        check_space(self.search)
        require(self.mode in ("min", "max"), "mode", self.mode, "'min' or 'max'")
        require(self.sampler in _SAMPLERS, "sampler", self.sampler, f"one of {', '.join(_SAMPLERS)}")
        require(self.scheduler in _SCHEDULERS, "scheduler", self.scheduler, f"one of {', '.join(_SCHEDULERS)}")
        for key, least in (("trials", 1), ("grace_evaluations", 1), ("reduction", 2), ("restarts", 0)):
            require(getattr(self, key) >= least, key, getattr(self, key), f"a whole number, at least {least}")
        require(self.concurrent is None or self.concurrent >= 1, "concurrent", self.concurrent, "at least 1, or None")
        require(self.cpus > 0, "cpus", self.cpus, "more than 0")
        require(self.gpus >= 0, "gpus", self.gpus, "0 or more")
        gridded = any("grid" in draw for draw in self.search.values())
        require(not (gridded and self.sampler == "optuna"), "sampler", self.sampler, "'random', since a draw is 'grid'")
