"""Global batches laid over the order of an epoch so that each host reads its own part of it.

If global batch b were simply places b*G..(b+1)*G-1 of the shuffled order, all hosts would draw from the same window of
blocks, and each would have to read all the data. So the order is cut into equally long lanes; a global batch takes the
same number of records from each lane, lane after lane. A host's contiguous slice of the batch is then a few whole lanes,
whose blocks no other host reads. Lanes depend on the global batch alone: any number of hosts sees the same batches.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

__all__ = ["Lanes", "Run", "largest_divisor"]


class Run(NamedTuple):  # made for every lane of every batch: a frozen dataclass takes five times as long to make
    """Consecutive places of one epoch's order that fill consecutive slots of a host's batch.

    Attributes:
        epoch: whose order.
        start, stop: places in that order.
        slot: first slot in the host's batch, from 0.
        lane: lane number, or -1 for records before and after the lanes.
        lane_stop: place where the lane ends (for -1: `stop`).
    """

    epoch: int
    start: int
    stop: int
    slot: int
    lane: int
    lane_stop: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lanes:
    """Maps batch slots of one epoch to places of its order: a bijection, in closed form.

    Args:
        num_records: records of the epoch.
        head: records that complete a batch begun in the epoch before; they come first.
        global_batch_size: records in a global batch, a multiple of `num_lanes`.
        num_lanes: lanes, >= 1.
    """

    num_records: int
    head: int
    global_batch_size: int
    num_lanes: int

    @property
    def num_batches(self) -> int:
        """Whole batches that lie within this epoch."""
        return (self.num_records - self.head) // self.global_batch_size

    @property
    def lane_records(self) -> int:
        return self.num_batches * (self.global_batch_size // self.num_lanes)

    def runs(self, epoch: int, start: int, stop: int, slot: int) -> list[Run]:
        """Returns where records start..stop-1 of the epoch's sequence of batches are found.

        Args:
            epoch: put into the runs as it is.
            start, stop: within one global batch.
            slot: slot of the first record in the host's batch.
        """
        body_stop = self.head + self.num_batches * self.global_batch_size
        if start < self.head or start >= body_stop:
            return (
                [Run(epoch=epoch, start=start, stop=stop, slot=slot, lane=-1, lane_stop=stop)] if stop > start else []
            )
        step, first = divmod(start - self.head, self.global_batch_size)
        last, share, runs = first + stop - start, self.global_batch_size // self.num_lanes, []
        lane_records = self.lane_records
        for lane in range(first // share, -(-last // share)):
            low, high = max(first, lane * share), min(last, (lane + 1) * share)
            base = self.head + lane * lane_records + (step - lane) * share
            lane_stop = self.head + (lane + 1) * lane_records
            runs.append(Run(epoch, base + low, base + high, slot + low - first, lane, lane_stop))
        return runs

    def lane_start(self, lane: int) -> int:
        """Returns the place of the lane's first record."""
        return self.head + lane * self.lane_records


def largest_divisor(number: int, limit: int) -> int:
    """Returns the largest divisor of `number` that is at most `limit` (>= 1)."""
    return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)
