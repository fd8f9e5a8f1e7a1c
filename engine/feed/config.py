"""What a feed is asked to do, checked when it is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from engine.core.errors import ConfigError
from engine.formats.options import OnDamage
from engine.machine.processes import processors
from engine.plan import PlanConfig, Remainder

__all__ = ["FeedConfig"]

_MOST_THREADS = 8  # on 16 cores 8 threads fed more rows of 40 columns a second than 4 or 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeedConfig:
    """Settings of a `Feed`.

    Args:
        global_batch_size: records in a batch over all hosts together.
        seed: any integer; the same seed gives the same batches on any machine and number of hosts.
        host: which slice of each global batch this feed delivers, 0..num_hosts-1.
        num_hosts: must divide `global_batch_size`.
        columns: names to deliver, None for all.
        shuffle: False delivers the records in the order of the files (evaluation).
        num_epochs: None for an endless feed.
        remainder: what becomes of the records that do not fill a last batch.
        with_record_ids: adds `record_ids`, int64 [b]: the global record ids.
        window_records, lanes, bucket_by_length, bucket_boundaries: see `engine.plan.PlanConfig`.
        fill: value by column name that stands for a missing value; such columns are dense instead of ragged.
        on_damage: OnDamage.RAISE (or "raise") stops with a DataError that names the record. OnDamage.SKIP ("skip") keeps
            the record's slot in the batch, filled with zeros and False in `mask`, so that every other record keeps its
            place on every host; its id goes into the state.
        skip_budget: damaged records that may be skipped over the life of the feed; one more raises.
        window_bytes: most bytes of a window, as far as sizes are known before reading: with large records (images) fewer than
            `window_records` are shuffled together. It only bounds the default of `window_records`.
        threads: native threads that read ahead, and up to 4 that gather a batch, >= 1; None: one for each processor this process may
            use, at most 8. Batches are the same whatever their number.
        prefetch_batches: finished batches that wait for the consumer, >= 1; fewer where they are large.

    Raises:
        ConfigError: a value out of its range.
    """

    global_batch_size: int
    seed: int = 0
    host: int = 0
    num_hosts: int = 1
    columns: Sequence[str] | None = None
    shuffle: bool = True
    num_epochs: int | None = None
    remainder: Remainder = Remainder.DROP
    with_record_ids: bool = False
    window_records: int | None = None
    lanes: int | None = None
    fill: Mapping[str, float | int | str | bytes] | None = None
    on_damage: OnDamage = OnDamage.RAISE
    skip_budget: int = 1000
    window_bytes: int = 256 << 20
    threads: int | None = None
    prefetch_batches: int = 4
    bucket_by_length: str | None = None
    bucket_boundaries: Sequence[int] = ()

    def __post_init__(self) -> None:
        self.plan_config()
        if not isinstance(self.host, int) or not 0 <= self.host < self.num_hosts:
            raise ConfigError(f"host is {self.host!r}: with num_hosts {self.num_hosts} give 0 to {self.num_hosts - 1}")
        for name, least in (("threads", 1), ("prefetch_batches", 1), ("skip_budget", 0), ("window_bytes", 1)):
            value = getattr(self, name)
            if name == "threads" and value is None:
                continue
            if not isinstance(value, int) or value < least:
                raise ConfigError(f"{name} is {value!r}: give an integer >= {least}")
        if self.num_epochs is not None and (not isinstance(self.num_epochs, int) or self.num_epochs < 1):
            raise ConfigError(f"num_epochs is {self.num_epochs!r}: give an integer >= 1, or None for an endless feed")
        try:
            object.__setattr__(self, "on_damage", OnDamage(self.on_damage))
        except ValueError:
            raise ConfigError(f"on_damage is {self.on_damage!r}: give OnDamage.RAISE or OnDamage.SKIP") from None
        if self.columns is not None and (isinstance(self.columns, str) or not self.columns):
            raise ConfigError(f"columns is {self.columns!r}: give a list of names, or None for all columns")

    def plan_config(self, record_bytes: float = 0.0) -> PlanConfig:
        """Returns the part that the epoch plan needs, for records of this size."""
        return PlanConfig(
            window_limit=max(1, int(self.window_bytes / record_bytes)) if record_bytes else None,
            global_batch_size=self.global_batch_size,
            seed=self.seed,
            num_hosts=self.num_hosts,
            shuffle=self.shuffle,
            remainder=self.remainder,
            window_records=self.window_records,
            lanes=self.lanes,
            bucket_by_length=self.bucket_by_length,
            bucket_boundaries=self.bucket_boundaries,
        )

    @property
    def worker_threads(self) -> int:
        """How many threads work, `threads` or what this process may use."""
        return self.threads or min(_MOST_THREADS, processors())

    @property
    def masked(self) -> bool:
        """Whether batches carry a `mask`, bool [b], False in slots that hold no record."""
        return self.remainder is Remainder.PAD or self.on_damage is OnDamage.SKIP
