"""stats: what a data set holds, feature by feature, as TensorFlow Metadata's statistics, and the schema inferred from them."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from engine.core.configs import check_types, require

if TYPE_CHECKING:
    from engine import Dataset
    from transforms.statistics import StatisticsReport

__all__ = ["StatsConfig", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StatsConfig:
    """Statistics of all records and of slices of them, in one pass.

    Attributes:
        slices: each a list of columns, e.g. [["carrier"], ["carrier", "origin"]].
        features: columns to take statistics of; empty for all.
        weight: column that weighs the records; empty for none.
        labels: columns whose values' shares are told, each value with its count.
        schema: path of a schema.pbtxt that says which integers are categories and which bytes are no text; empty for none.
        runner: "local", "flink", "spark" or a Beam runner.
        runner_options: of the runner, each "--KEY=VALUE".
        batch_rows: records a batch.
        memory: what a worker may hold for batches and states, e.g. "2Gi".
        show: most features printed of each kind.
    """

    slices: tuple[tuple[str, ...], ...] = ()
    features: tuple[str, ...] = ()
    weight: str = ""
    labels: tuple[str, ...] = ()
    schema: str = ""
    runner: str = "local"
    runner_options: tuple[str, ...] = ()
    batch_rows: int = 131072
    memory: str = "2Gi"
    show: int = 40

    def __post_init__(self) -> None:
        from transforms.batches.batch_cutter import memory_bytes

        check_types(self)
        require(self.batch_rows >= 1, "batch_rows", self.batch_rows, "1 or more")
        require(self.show >= 0, "show", self.show, "0 or more")
        memory_bytes(self.memory)


def run(config: StatsConfig, data: Dataset, out: str | os.PathLike[str] | None = None) -> StatisticsReport:
    """Returns the report after the pass.

    Args:
        config: settings.
        data: records.
        out: directory of the statistics, local or a URI; None writes nothing.

    Raises:
        ConfigError: a column, schema, runner or `out` that cannot work.
        DataError: bad data.
    """
    from transforms import statistics

    return statistics(
        data,
        out,
        runner=config.runner,
        runner_options=config.runner_options,
        slices=config.slices,
        features=config.features,
        weight=config.weight or None,
        labels=config.labels,
        schema=config.schema or None,
        batch_rows=config.batch_rows,
        memory=config.memory,
    )
