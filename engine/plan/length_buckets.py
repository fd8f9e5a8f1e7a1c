"""Batches of records of similar length: the records of a window dealt anew over the places of its batches.

Only places inside one window change, so that each epoch still holds every record once, any batch is found from its cursor,
and a resume is exact. A step asks every lane, and so every host, for the same share of its lengths: a synchronous step is
as long as its longest list.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.plan.feistel import derive_key, mix
from engine.plan.lanes import Lanes

__all__ = ["regrouped"]

_LENGTHS = 5  # separates the key from those of `engine.plan.order`


def regrouped(
    rows: np.ndarray, lengths: np.ndarray, boundaries: Sequence[int], start: int, lanes: Lanes, seed: int, epoch: int
) -> np.ndarray:
    """Returns the rows of a window in an order in which those of a batch are of similar length.

    Args:
        rows: int64 [n], the row at each place of the window.
        lengths: int64 [n], by row.
        boundaries: lengths at which buckets begin, as of tf.data's `bucket_by_sequence_length`: below the first, from the
            first to below the second, ..., from the last on. Inside a bucket the order of `rows` holds.
        start: place of the first row in the epoch's order.
        lanes: of the epoch.
        seed, epoch: of the order.
    """
    out = rows.copy()
    share = lanes.global_batch_size // lanes.num_lanes
    # What is before and after the whole batches stays where it is: else the records left out would be chosen by length.
    first, stop = max(start, lanes.head), min(start + len(rows), lanes.head + lanes.num_lanes * lanes.lane_records)
    if first >= stop:
        return out
    inside = rows[first - start : stop - start]
    lane, at = np.divmod(np.arange(first, stop) - lanes.head, lanes.lane_records)
    steps = at // share
    begins = np.flatnonzero(np.diff(lane, prepend=-1) | np.diff(steps, prepend=-1))
    sizes = np.diff(begins, append=len(inside))
    turn = np.argsort(_shuffled(steps[begins], derive_key(seed, _LENGTHS, epoch)), kind="stable")
    by_length = inside[np.argsort(np.searchsorted(boundaries, lengths[inside], side="right"), kind="stable")]
    # The batch whose turn is first gets the shortest records, and so on.
    ends = np.cumsum(sizes[turn])
    took = np.empty(len(begins), np.int64)
    took[turn] = ends - sizes[turn]
    places = np.arange(len(inside)) + np.repeat(took - begins, sizes)
    out[first - start : stop - start] = by_length[places]
    return out


def _shuffled(numbers: np.ndarray, key: int) -> np.ndarray:
    """Returns a 64-bit hash of each number."""
    return mix(numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key))
