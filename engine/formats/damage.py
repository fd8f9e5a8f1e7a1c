"""What a reader met that was damaged, and whether it may go on."""

from __future__ import annotations

import dataclasses
import logging

from engine.core.errors import DataError
from engine.formats.options import OnDamage, ReadOptions

__all__ = ["DamageLog"]

_LOG = logging.getLogger("fullpass.engine")


@dataclasses.dataclass
class DamageLog:
    """Counts and keeps the damage of one read.

    Args:
        options: says whether to raise, and the budget.
        faults: every fault met, as errors with path, record and byte.
        records: records left out.
        quiet: keep the faults without logging them.
    """

    options: ReadOptions
    faults: list[DataError] = dataclasses.field(default_factory=list)
    records: int = 0
    quiet: bool = False

    def report(self, fault: DataError, records: int = 1) -> None:
        """Notes a fault that costs `records` records, and returns where it may be skipped.

        Raises:
            DataError: the fault itself under OnDamage.RAISE, or that the budget is spent.
        """
        if self.options.on_damage is OnDamage.RAISE:
            raise fault
        self.faults.append(fault)
        self.records += records
        if self.records > self.options.skip_budget:
            raise DataError(
                f"{self.records} damaged records, more than skip_budget={self.options.skip_budget} allows; the last: {fault}",
                path=fault.path,
                record=fault.record,
                offset_bytes=fault.offset_bytes,
            ) from fault
        if not self.quiet:
            _LOG.warning("skipped damaged record: %s", fault)
