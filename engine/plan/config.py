"""What an epoch plan is asked to do, checked when it is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from engine.core.errors import ConfigError
from engine.plan.remainder import Remainder

__all__ = ["PlanConfig"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """Settings of an `EpochPlan`.

    Args:
        global_batch_size: records in a batch over all hosts together, >= 1.
        seed: any integer; the same seed gives the same order on any machine.
        num_hosts: hosts that share a global batch; must divide `global_batch_size`.
        shuffle: False keeps the records in the order of the files.
        remainder: what becomes of the records that do not fill a last batch.
        window_records: records shuffled together, over all lanes (a shuffle buffer of this size is the like in tf.data);
            by default all where there are at most 524,288, else 262,144. A host holds two windows of its lanes in memory.
        window_limit: most records of a window whose size `window_records` leaves to the plan; None: no such limit.
        lanes: parts of the epoch that are read side by side; must divide `global_batch_size`. By default the largest
            divisor up to 32 that windows of that size can fill. With a multiple of `num_hosts` no two hosts read the same block.
        bucket_by_length: list column by whose lengths the records of a window are put into batches of similar ones; None: none.
        bucket_boundaries: lengths at which buckets begin, ascending.

    Raises:
        ConfigError: a value out of its range.
    """

    global_batch_size: int
    seed: int = 0
    num_hosts: int = 1
    shuffle: bool = True
    remainder: Remainder = Remainder.DROP
    window_records: int | None = None
    window_limit: int | None = None
    lanes: int | None = None
    bucket_by_length: str | None = None
    bucket_boundaries: Sequence[int] = ()

    def __post_init__(self) -> None:
        for name in ("global_batch_size", "num_hosts"):
            _check_int(name, getattr(self, name), 1)
        for name in ("window_records", "window_limit", "lanes"):
            if getattr(self, name) is not None:
                _check_int(name, getattr(self, name), 1)
        _check_int("seed", self.seed, None)
        if not isinstance(self.remainder, Remainder):
            raise ConfigError(f"remainder is {self.remainder!r}: give one of {', '.join(map(str, Remainder))}")
        if self.global_batch_size % self.num_hosts:
            raise ConfigError(
                f"num_hosts {self.num_hosts} does not divide global_batch_size {self.global_batch_size}: "
                f"give a multiple of {self.num_hosts}, or {_near_divisors(self.global_batch_size, self.num_hosts)} hosts"
            )
        self._check_buckets()
        if self.lanes is not None and self.global_batch_size % self.lanes:
            raise ConfigError(f"lanes {self.lanes} does not divide global_batch_size {self.global_batch_size}")

    def _check_buckets(self) -> None:
        bounds = self.bucket_boundaries
        whole = not isinstance(bounds, str) and all(isinstance(b, int) and b >= 1 for b in bounds)
        if not whole or list(bounds) != sorted(set(bounds)):
            raise ConfigError(
                f"bucket_boundaries is {bounds!r}: give whole numbers from 1 on, ascending, e.g. [16, 32, 64]"
            )
        if bool(bounds) != (self.bucket_by_length is not None):
            raise ConfigError(
                f"bucket_by_length is {self.bucket_by_length!r} and bucket_boundaries {bounds!r}: give both or neither"
            )
        if self.bucket_by_length is not None and not self.shuffle:
            raise ConfigError(
                "bucket_by_length: it changes the order of records, which shuffle=False keeps; give one of them"
            )


def _check_int(name: str, value: object, least: int | None) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or (least is not None and value < least):
        raise ConfigError(f"{name} is {value!r}: give an integer{'' if least is None else f' >= {least}'}")


def _near_divisors(number: int, wanted: int) -> str:
    below = next(d for d in range(min(wanted, number), 0, -1) if number % d == 0)
    above = next((d for d in range(wanted, number + 1) if number % d == 0), number)
    return f"{below} or {above}" if above != below else str(below)
