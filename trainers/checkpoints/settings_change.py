"""Which settings a resumed run may change from those it was saved with.

One rule: what changes the meaning of the weights or of what they are fitted to is refused by name; what is meant to be
tuned on the way is taken, and said; what changes nothing of the result (logs, saves) is taken in silence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from engine.core.json_text import plain_json
from trainers.config.config import TrainerConfig

__all__ = ["MEANING", "TUNED", "changed_code", "refused_change", "tuned_changes"]

MEANING = (
    "label", "weight", "features", "pad", "class_weights", "global_batch_size", "hyperparameters", "precision", "seed", "window_records",
    "bucket_by_length", "bucket_boundaries",
)  # fmt: skip
TUNED = (
    "learning_rate", "clip_norm", "ema_decay", "accumulate_steps", "epochs", "steps", "early_stopping", "on_nan",
    "deterministic", "xla", "steps_per_call",
)  # fmt: skip


def refused_change(saved: Mapping[str, Any], config: TrainerConfig) -> str | None:
    """Returns the first setting that may not change, with both values, or None.

    Args:
        saved: the settings in a checkpoint; one that it does not have yet has its default.
        config: the settings now.
    """
    for name, before, now in _changes(saved, config, MEANING):
        return f"{name}={_shown(before)}, now it is {_shown(now)}"
    # The averages are variables: they cannot begin in the middle.
    before, now = saved.get("ema_decay"), config.ema_decay
    if (before is None) != (now is None):
        return f"ema_decay={_shown(before)}, now it is {_shown(now)}"
    return None


def tuned_changes(saved: Mapping[str, Any], config: TrainerConfig) -> list[str]:
    """Returns a text for each setting that is another one now and is taken."""
    return [f"{name}={_shown(now)} (was {_shown(before)})" for name, before, now in _changes(saved, config, TUNED)]


def changed_code(saved: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Returns a text for each function of the user's that is other code now. It is taken: many a change mends something.

    Args:
        saved: function to digest of its code in a checkpoint; what it does not have is not compared.
        now: the same of this run.
    """
    return [f"other code of {name}" for name, digest in now.items() if saved.get(name, digest) != digest]


def _changes(saved: Mapping[str, Any], config: TrainerConfig, names: tuple[str, ...]) -> list[tuple[str, Any, Any]]:
    defaults = {f.name: f.default for f in dataclasses.fields(config)}
    now = plain_json(config.as_json())
    pairs = [(name, saved.get(name, plain_json(_default(defaults[name]))), now[name]) for name in names]
    return [(name, before, after) for name, before, after in pairs if (before or None) != (after or None)]


def _default(value: Any) -> Any:
    return None if value is dataclasses.MISSING else value


def _shown(value: Any) -> str:
    return "none" if value is None else repr(value)
