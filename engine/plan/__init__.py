"""The order of records: epoch plans, the ends of epochs, weighted mixtures. Pure arithmetic, no I/O."""

from engine.plan.config import PlanConfig
from engine.plan.epoch_plan import Cursor, EpochPlan
from engine.plan.mixture import MixSchedule
from engine.plan.order import Window
from engine.plan.remainder import Remainder
from engine.plan.state import STATE_VERSION, dump_state, load_state

__all__ = [
    "STATE_VERSION",
    "Cursor",
    "EpochPlan",
    "MixSchedule",
    "PlanConfig",
    "Remainder",
    "Window",
    "dump_state",
    "load_state",
]
