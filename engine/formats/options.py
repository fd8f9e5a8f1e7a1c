"""How a read goes about it; the same options for every format."""

from __future__ import annotations

import dataclasses
import enum

from engine.core.errors import ConfigError

__all__ = ["OnDamage", "ReadOptions"]


class OnDamage(enum.Enum):
    """What a reader does at a damaged record."""

    RAISE = "raise"  # DataError at the first one
    SKIP = "skip"  # leave it out, report its place, and go on; DataError once the budget is spent


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Options of one read.

    Args:
        batch_rows: rows of each batch but the last, at least 1; with several threads on a plain TFRecord file the most that a
            batch has.
        columns: names to read, in the order wanted; None for all.
        dictionary: names of bytes columns that come back dictionary-encoded (one dictionary a batch), or True for all of them.
        threads: native threads that decode at a time. Each holds one batch, or one span of a plain TFRecord file.
        on_damage: raise or skip.
        skip_budget: damaged records that one read may skip.
    """

    batch_rows: int = 65536
    columns: tuple[str, ...] | None = None
    dictionary: tuple[str, ...] | bool = ()
    threads: int = 1
    on_damage: OnDamage = OnDamage.RAISE
    skip_budget: int = 1000

    def __post_init__(self) -> None:
        if self.batch_rows < 1:
            raise ConfigError(f"batch_rows is {self.batch_rows}; it takes at least 1")
        if self.threads < 1:
            raise ConfigError(f"threads is {self.threads}; it takes at least 1")
        if self.skip_budget < 0:
            raise ConfigError(f"skip_budget is {self.skip_budget}; it takes 0 or more")
        if self.columns is not None:
            object.__setattr__(self, "columns", tuple(self.columns))
        if not isinstance(self.dictionary, bool):
            object.__setattr__(self, "dictionary", tuple(self.dictionary))
        object.__setattr__(self, "on_damage", OnDamage(self.on_damage))
