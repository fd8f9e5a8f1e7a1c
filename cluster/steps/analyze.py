"""analyze: the full passes of the user's preprocessing_fn, and the transform graph that comes of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.core.configs import check_types, require

if TYPE_CHECKING:
    from engine import Dataset
    from transforms.analyze import AnalyzeReport

__all__ = ["AnalyzeConfig", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalyzeConfig:
    """The full passes of `preprocessing_fn`, on a Beam runner.

    Attributes:
        preprocessing_fn: name of the function in the user's module.
        runner: "local", "flink", "spark" or a Beam runner.
        runner_options: of the runner, each "--KEY=VALUE".
        custom_config: what `preprocessing_fn(inputs, custom_config)` gets, as in TFX; empty for none.
        spans: local directory that keeps what each span of growing data contributed; None keeps nothing.
        stats: directory for statistics of all columns, taken in the first pass of the same records; None takes none.
        slices: of the statistics, each a list of columns, as in [stats].
        weight: column that weighs the records of the statistics; empty for none.
        labels: columns whose values' shares are told, taken in the first pass too.
        batch_rows: records a batch.
        memory: what a worker may hold for its batches, e.g. "2Gi"; larger batches are cut.
    """

    preprocessing_fn: str = "preprocessing_fn"
    runner: str = "local"
    runner_options: tuple[str, ...] = ()
    custom_config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    spans: str | None = None
    stats: str | None = None
    slices: tuple[tuple[str, ...], ...] = ()
    weight: str = ""
    labels: tuple[str, ...] = ()
    batch_rows: int = 131072
    memory: str = "2Gi"

    def __post_init__(self) -> None:
        from transforms.batches.batch_cutter import memory_bytes

        check_types(self)
        require(self.batch_rows >= 1, "batch_rows", self.batch_rows, "1 or more")
        memory_bytes(self.memory)
        require(self.stats != "", "stats", self.stats, "a directory, or nothing")
        taken = bool(self.stats or self.labels)
        require(
            not (self.spans and taken), "spans", self.spans, "none beside stats and labels: spans keep analyzers alone"
        )
        for name in ("slices", "weight"):
            value = getattr(self, name)
            require(not value or bool(self.stats), name, value, "none without stats, the directory of the statistics")


def run(
    config: AnalyzeConfig, data: Dataset, module: str, out: str | os.PathLike[str], *, hints: Sequence[str] = ()
) -> AnalyzeReport:
    """Returns the report after writing the transform graph.

    Args:
        config: settings.
        data: raw records.
        module: the user's Python file.
        out: directory of the graph, local or a URI.
        hints: notes on the data that an error may come from, shown with it.

    Raises:
        ConfigError: a module, function, runner or `out` that cannot work.
        DataError: bad data.
    """
    from cluster.user_code.module import user_function
    from transforms import analyze

    return analyze(
        data,
        user_function(module, config.preprocessing_fn),
        out,
        runner=config.runner,
        runner_options=config.runner_options,
        custom_config=dict(config.custom_config) or None,
        spans=config.spans,
        stats=config.stats,
        slices=config.slices,
        weight=config.weight or None,
        labels=config.labels,
        batch_rows=config.batch_rows,
        memory=config.memory,
        hints=hints,
    )
