"""Which records make up any global batch of any epoch: pure arithmetic, no reading, no clock.

Guarantee: the sequence of global batches is a function of (block sizes, seed, global batch size, remainder policy,
window, lanes) alone. The number of hosts only cuts each global batch into contiguous slices. Every epoch holds each
record exactly once (DROP leaves out the num_records % global_batch_size last ones of its order). Any batch is found in
O(sqrt(num_blocks)) without the batches before it.
Trade-off: shuffling is by blocks and within windows, not over the whole data set, and a resume must keep the global batch size.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np

from engine.core.errors import ConfigError
from engine.plan.config import PlanConfig
from engine.plan.lanes import Lanes, Run, largest_divisor
from engine.plan.length_buckets import regrouped
from engine.plan.order import SequentialOrder, ShuffledOrder, Window
from engine.plan.remainder import Remainder

__all__ = ["Cursor", "EpochPlan"]

_MAX_WINDOW_RECORDS = 262_144
_WHOLE_RECORDS = 2 * _MAX_WINDOW_RECORDS  # data up to this size are shuffled as one window
_MAX_LANES = 32
_FEW_LANES, _BLOCKS_FOR_FEW_LANES = 8, 128


@dataclasses.dataclass(frozen=True, order=True)
class Cursor:
    """Where the next global batch begins.

    Attributes:
        epoch: epoch of its first record, from 0.
        records_done: records of that epoch that earlier batches took, over all hosts.
    """

    epoch: int = 0
    records_done: int = 0


class EpochPlan:
    """Index ranges of every global batch of every epoch.

    Args:
        block_records: int [num_blocks], records of each block in the order of the global record ids.
        config: see `PlanConfig`; or give its fields as keywords.

    Raises:
        ConfigError: no records, or fewer than one global batch under DROP, or a bad field.
    """

    def __init__(
        self, block_records: Sequence[int] | np.ndarray, config: PlanConfig | None = None, **fields: object
    ) -> None:
        self.config = config if config is not None else PlanConfig(**fields)  # type: ignore[arg-type]
        if config is not None and fields:
            raise ConfigError(f"give a PlanConfig or its fields, not both: {', '.join(fields)}")
        self._first: np.ndarray = np.zeros(len(block_records) + 1, np.int64)
        np.cumsum(block_records, out=self._first[1:])
        if len(block_records) and int(np.min(block_records)) < 0:
            raise ConfigError(f"a block has {int(np.min(block_records))} records; counts are 0 or more")
        self.num_records = int(self._first[-1])
        self.num_blocks = len(block_records)
        size = self.config.global_batch_size
        if self.num_records == 0:
            raise ConfigError("the data set has no records: nothing can be planned")
        if self.config.remainder is Remainder.DROP and self.num_records < size:
            raise ConfigError(
                f"global_batch_size {size} is more than the data set's {self.num_records} records and the remainder is "
                "dropped: no batch could be made; make the batch smaller or choose Remainder.PAD or CARRY"
            )
        self.lanes, self.window_blocks = self._choose_lanes()
        self.order: SequentialOrder | ShuffledOrder
        if self.config.shuffle:
            self.order = ShuffledOrder(self._first, self.config.seed, self.window_blocks)
        else:
            self.order = SequentialOrder(self._first)

    def _choose_lanes(self) -> tuple[int, int]:
        config = self.config
        if not config.shuffle:
            return 1, 1
        default = self.num_records if self.num_records <= _WHOLE_RECORDS else _MAX_WINDOW_RECORDS
        records = config.window_records or min(default, config.window_limit or default)
        if records >= self.num_records and config.lanes is None:
            return 1, self.num_blocks
        blocks = max(1, round(records * self.num_blocks / self.num_records))
        most = min(_MAX_LANES, blocks)
        if self.num_blocks >= _BLOCKS_FOR_FEW_LANES:
            # Few large blocks: without several lanes every host would read everything.
            most = max(most, _FEW_LANES)
        lanes = config.lanes or largest_divisor(config.global_batch_size, most)
        return lanes, max(1, blocks // lanes)

    @property
    def host_batch_size(self) -> int:
        """Records of a global batch that go to one host."""
        return self.config.global_batch_size // self.config.num_hosts

    def num_batches(self, epoch: int = 0) -> int:
        """Returns the number of global batches that begin in the epoch."""
        size, total = self.config.global_batch_size, self.num_records
        if self.config.remainder is Remainder.CARRY:
            return -(-(epoch + 1) * total // size) - -(-epoch * total // size)
        return total // size if self.config.remainder is Remainder.DROP else -(-total // size)

    def batch_number(self, cursor: Cursor) -> int:
        """Returns how many global batches come before the cursor, from the very first.

        Raises:
            ConfigError: no global batch begins there.
        """
        size = self.config.global_batch_size
        carry = self.config.remainder is Remainder.CARRY
        at = cursor.epoch * self.num_records + cursor.records_done if carry else cursor.records_done
        inside = 0 <= cursor.records_done < (self.num_records if carry else self.num_batches() * size)
        if at % size or cursor.epoch < 0 or not inside:
            raise ConfigError(
                f"no global batch of {size} records begins at epoch {cursor.epoch}, record {cursor.records_done}"
            )
        return at // size if carry else cursor.epoch * self.num_batches() + at // size

    def cursor(self, batch_number: int) -> Cursor:
        """Returns where global batch `batch_number` (from 0, over all epochs) begins."""
        size = self.config.global_batch_size
        if self.config.remainder is Remainder.CARRY:
            return Cursor(*divmod(batch_number * size, self.num_records))
        epoch, step = divmod(batch_number, self.num_batches())
        return Cursor(epoch, step * size)

    def advance(self, cursor: Cursor, num_batches: int) -> Cursor:
        """Returns where the batch begins that comes `num_batches` after the cursor's."""
        return self.cursor(self.batch_number(cursor) + num_batches)

    def total_batches(self, num_epochs: int) -> int:
        """Returns the number of global batches in the first `num_epochs` epochs."""
        if self.config.remainder is Remainder.CARRY:
            return num_epochs * self.num_records // self.config.global_batch_size
        return num_epochs * self.num_batches()

    @functools.lru_cache(maxsize=8)  # noqa: B019 - a plan lives as long as its feed
    def _lanes_of(self, epoch: int) -> Lanes:
        size = self.config.global_batch_size
        carry = self.config.remainder is Remainder.CARRY
        head = min(-epoch * self.num_records % size, self.num_records) if carry else 0
        return Lanes(num_records=self.num_records, head=head, global_batch_size=size, num_lanes=self.lanes)

    def runs(self, cursor: Cursor, host: int = 0) -> list[Run]:
        """Returns where the records of one host's slice of a global batch are.

        Args:
            cursor: where the global batch begins, see `cursor` and `advance`.
            host: 0..num_hosts-1.

        Returns:
            Runs in the order of the batch's slots. Slots without a run (PAD, PARTIAL) have no record.

        Raises:
            ConfigError: `host` is not one of the plan's.
        """
        if not 0 <= host < self.config.num_hosts:
            raise ConfigError(f"host is {host}: give 0 to {self.config.num_hosts - 1}")
        start = cursor.records_done + host * self.host_batch_size
        return self._runs_between(cursor.epoch, start, start + self.host_batch_size)

    def stream_runs(self, start: int, stop: int) -> list[Run]:
        """Returns where records start..stop-1 of the endless sequence of epochs are (Remainder.CARRY).

        Args:
            start, stop: records counted from the first of epoch 0; any numbers, not only whole batches.
        """
        assert self.config.remainder is Remainder.CARRY
        return self._runs_between(
            start // self.num_records, start % self.num_records, stop - start + start % self.num_records
        )

    def _runs_between(self, epoch: int, start: int, stop: int) -> list[Run]:
        size, slot, runs = self.config.global_batch_size, 0, []
        while start < stop:
            if start >= self.num_records:
                if self.config.remainder is not Remainder.CARRY:
                    break
                start, stop, epoch = start - self.num_records, stop - self.num_records, epoch + 1
                continue
            lanes = self._lanes_of(epoch)
            batch_end = lanes.head if start < lanes.head else start + size - (start - lanes.head) % size
            end = min(stop, self.num_records, batch_end)
            runs += lanes.runs(epoch, start, end, slot)
            slot += end - start
            start = end
        return runs

    def window_at(self, epoch: int, place: int) -> Window:
        """Returns the blocks that must be read for a place of the epoch's order."""
        return self.order.window_at(epoch, place)

    def regrouped(self, window: Window, rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Returns the rows of a window with those of similar length in one batch, as `bucket_by_length` asks.

        Args:
            window: of this plan's order.
            rows: int64 [n], the row at each place of the window.
            lengths: int64 [n], of the list of each row.
        """
        config, lanes = self.config, self._lanes_of(window.epoch)
        return regrouped(rows, lengths, config.bucket_boundaries, window.start, lanes, config.seed, window.epoch)

    def next_place(self, run: Run, place: int) -> tuple[int, int]:
        """Returns (epoch, place) that the lane of a run goes on with at `place`: there, or in the epoch after."""
        if run.lane < 0 or place < run.lane_stop:
            return run.epoch, place
        return run.epoch + 1, min(self._lanes_of(run.epoch + 1).lane_start(run.lane), self.num_records - 1)

    def record_ids(self, cursor: Cursor, host: int = 0) -> np.ndarray:
        """Returns the global record ids of one host's slice of a global batch, int64 [n] in slot order."""
        return _joined(self._run_ids(run) for run in self.runs(cursor, host))

    def _run_ids(self, run: Run) -> np.ndarray:
        parts, at = [], run.start
        while at < run.stop:
            window = self.window_at(run.epoch, at)
            end = min(run.stop, window.stop)
            parts.append(window.record_ids(window.rows(at, end)))
            at = end
        return _joined(parts)

    def locate(self, record_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns (block numbers, rows within the block), both int64 [n], of global record ids."""
        blocks = np.asarray(np.searchsorted(self._first, record_ids, side="right")) - 1
        return blocks, record_ids - self._first[blocks]


def _joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    parts = list(parts)
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
