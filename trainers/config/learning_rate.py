"""The learning rate as a function of the optimizer step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from trainers.config.config import LearningRate

__all__ = ["schedule_function"]


def schedule_function(rate: LearningRate, total_steps: int) -> Callable[[Any], Any]:
    """Returns a function of a float32 step tensor: linear from 0 to the peak, then the decay, then constant.

    Args:
        rate: the settings.
        total_steps: steps of the whole training, the end of a decay without a length of its own.
    """
    import tensorflow as tf

    length = float(rate.decay_steps or max(1, total_steps - rate.warmup_steps))

    def decayed(done: Any) -> Any:
        if rate.decay == "linear":
            return rate.peak + (rate.end - rate.peak) * done
        if rate.decay == "cosine":
            return rate.end + (rate.peak - rate.end) * 0.5 * (1.0 + tf.cos(math.pi * done))
        if rate.decay == "exponential":
            return rate.peak * tf.pow(rate.end / rate.peak, done)
        return tf.fill(tf.shape(done), rate.peak)

    def at(step: Any) -> Any:
        step = tf.cast(step, tf.float32)
        after = decayed(tf.clip_by_value((step - rate.warmup_steps) / length, 0.0, 1.0))
        if rate.warmup_steps == 0:
            return after
        return tf.where(step < rate.warmup_steps, rate.peak * (step + 1.0) / rate.warmup_steps, after)

    return at
