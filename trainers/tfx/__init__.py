"""A `run_fn` for TFX's Trainer component."""

from trainers.tfx.run_fn import make_run_fn, run_fn

__all__ = ["make_run_fn", "run_fn"]
