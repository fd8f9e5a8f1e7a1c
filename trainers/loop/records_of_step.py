"""Which records a step was made of, read again from the position in the data: for errors that name their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from engine.core.errors import FullpassError
from trainers.loop.divergence import bad_values

__all__ = ["describe_records", "place_of_record"]

_SHOWN = 4


def describe_records(feed: Any, state: Mapping[str, Any], epoch: int) -> str:
    """Returns a text about the records of one batch: those of this host, and the first value among them that is no number.

    Args:
        feed: of the training data, with record ids.
        state: the feed's state before the batch.
        epoch: from 0.
    """
    try:
        feed.set_state(dict(state))
        batch = feed.unpack(next(iter(feed.dataset())))
    except (FullpassError, OSError, StopIteration) as error:
        return f"its records (epoch {epoch + 1}) cannot be read again: {error}"
    ids = batch.pop("record_ids").numpy()
    dense = {name: tensor.numpy() for name, tensor in batch.items() if isinstance(tensor, tf.Tensor)}
    shown = ", ".join(f"{i:,}" for i in ids[:_SHOWN])
    text = (
        f"it is made of {len(ids):,} records of epoch {epoch + 1} here: {shown}{', ...' if len(ids) > _SHOWN else ''}"
    )
    found = bad_values(dense, ids)
    if found is None:
        return f"{text}, all of whose numbers are finite"
    column, record, value = found
    return f"{text}; column {column!r} of record {record:,}{place_of_record(feed, record)} is {value}"


def place_of_record(feed: Any, record: int) -> str:
    """Returns " (FILE record N)" of a global record id; "" where the data set has no files."""
    place = getattr(getattr(feed, "source", None), "place_of", lambda _: None)(record)
    return "" if place is None else f" ({place[0]} record {place[1]:,})"
