"""Which records a step was made of, read again from the position in the data: for errors that name their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from engine.core.errors import FullpassError
from trainers.loop.faults.divergence import bad_values

if TYPE_CHECKING:
    from engine.feed.protocols import TrainingFeed

__all__ = ["StepRecords"]

_SHOWN = 4


class StepRecords:
    """Reads the records of steps again, in the same order.

    Args:
        open_feed: returns a feed of the training data with record ids.
        state_at: number of steps done to the feed's state.
        steps_per_epoch: to name the epoch.
    """

    def __init__(
        self, open_feed: Callable[[], TrainingFeed], state_at: Callable[[int], Mapping[str, Any]], steps_per_epoch: int
    ) -> None:
        self._open_feed, self._state_at, self._per_epoch = open_feed, state_at, steps_per_epoch

    def describe(self, step: int) -> str:
        """Returns a text about the records after `step` steps: those of this host, and the first value that is not a number."""
        epoch = step // self._per_epoch + 1
        try:
            feed = self._feed_at(step)
            batch = feed.unpack(next(iter(feed.dataset())))
        except (FullpassError, OSError, StopIteration) as error:
            return f"its records (epoch {epoch}) cannot be read again: {error}"
        ids = batch.pop("record_ids").numpy()
        dense = {name: tensor.numpy() for name, tensor in batch.items() if isinstance(tensor, tf.Tensor)}
        shown = ", ".join(f"{i:,}" for i in ids[:_SHOWN])
        text = (
            f"it is made of {len(ids):,} records of epoch {epoch} here: {shown}{', ...' if len(ids) > _SHOWN else ''}"
        )
        found = bad_values(dense, ids)
        if found is None:
            return f"{text}, all of whose numbers are finite"
        column, record, value = found
        return f"{text}; column {column!r} of record {record:,}{_place(feed, record)} is {value}"

    def place_of_label(self, step: int, num_steps: int, name: str, value: float) -> str:
        """Returns " in record N (FILE record M)" of the first row whose label has this value; "" where none has.

        Args:
            step: steps done before the first of them.
            num_steps: how many are looked through.
            name: of the label.
            value: that it must not have; a fraction is as TensorFlow prints it, in few digits.
        """
        feed = self._feed_at(step)
        for batch in map(feed.unpack, feed.dataset().take(num_steps)):
            labels = batch[name].numpy() if isinstance(batch[name], tf.Tensor) else np.empty(0)
            alike = labels == value if float(value).is_integer() else np.isclose(labels, value, rtol=1e-5, atol=0)
            places = np.argwhere(alike)
            if len(places):
                record = int(batch["record_ids"].numpy()[places[0][0]])
                return f" in record {record:,}{_place(feed, record)}"
        return ""

    def _feed_at(self, step: int) -> TrainingFeed:
        feed = self._open_feed()
        feed.set_state(dict(self._state_at(step)))
        return feed


def _place(feed: TrainingFeed, record: int) -> str:
    place = getattr(getattr(feed, "source", None), "place_of", lambda _: None)(record)
    return "" if place is None else f" ({place[0]} record {place[1]:,})"
