"""The position of a feed as a small JSON-able dict, and the refusal of one that belongs to something else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.core.errors import ConfigError
from engine.plan.epoch_plan import Cursor, EpochPlan

__all__ = ["STATE_VERSION", "dump_state", "load_state", "source_identity"]

STATE_VERSION = 1
_NO_BUCKETS: dict[str, Any] = {"bucket_by_length": None, "bucket_boundaries": []}


def source_identity(plan: EpochPlan, fingerprint: str) -> dict[str, Any]:
    """Returns what a saved state must share with a plan to be its own."""
    config = plan.config
    return {
        "version": STATE_VERSION,
        "manifest": fingerprint,
        "num_records": plan.num_records,
        "seed": config.seed,
        "global_batch_size": config.global_batch_size,
        "shuffle": config.shuffle,
        "remainder": config.remainder.value,
        "lanes": plan.lanes,
        "window_blocks": plan.window_blocks,
        "bucket_by_length": config.bucket_by_length,
        "bucket_boundaries": list(config.bucket_boundaries),
    }


def dump_state(plan: EpochPlan, fingerprint: str, cursor: Cursor, skipped: Sequence[int] = ()) -> dict[str, Any]:
    """Returns the state of a feed that goes on at the cursor.

    Args:
        plan: the plan in use.
        fingerprint: hash of the manifest.
        cursor: where the next global batch begins.
        skipped: global ids of damaged records that were left out so far.
    """
    state = source_identity(plan, fingerprint)
    return {**state, "epoch": cursor.epoch, "records_done": cursor.records_done, "skipped": sorted(map(int, skipped))}


def load_state(plan: EpochPlan, fingerprint: str, state: dict[str, Any]) -> tuple[Cursor, list[int]]:
    """Returns the cursor and the skipped record ids of a state made by `dump_state`, on any number of hosts.

    Raises:
        ConfigError: the state is of another version, data set, seed, global batch size or order: the message names what
            differs, the value in the state and the value here.
    """
    if not isinstance(state, dict) or "version" not in state:
        raise ConfigError(f"this is not a feed state: got {type(state).__name__}, expected a dict with a version")
    for name, here in source_identity(plan, fingerprint).items():
        # A state of a feed that knew no buckets had none.
        seen = state.get(name, _NO_BUCKETS.get(name))
        if seen != here:
            if name == "manifest" and str(seen).partition("-")[0] == str(here).partition("-")[0]:
                raise ConfigError(
                    "the saved feed state does not fit: it is of the same data, and their large blocks were read whole or in other "
                    "pieces then (by an earlier version, or with other columns); start without the state"
                )
            raise ConfigError(
                f"the saved feed state does not fit: its {name} is {state.get(name)!r}, here it is {here!r}; "
                f"give the feed the {name} it was saved with, or start without the state"
            )
    missing = [name for name in ("epoch", "records_done") if not isinstance(state.get(name), int)]
    if missing:
        raise ConfigError(f"the saved feed state has no integer {' and no '.join(missing)}")
    cursor = Cursor(state["epoch"], state["records_done"])
    plan.batch_number(cursor)
    return cursor, list(state.get("skipped", ()))
