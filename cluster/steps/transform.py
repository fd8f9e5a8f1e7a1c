"""transform: records through a transform graph, into shards."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from engine.core.configs import check_types, require

if TYPE_CHECKING:
    from engine import Dataset
    from transforms.transform import TransformReport

__all__ = ["TransformConfig", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformConfig:
    """Transformed shards.

    Attributes:
        format: of the shards.
        num_shards: shards of equal size; None for one a split.
        compression: "none" or "gzip"; tfrecord also "zlib"; parquet also "zstd" and "snappy".
        runner: "local", "flink", "spark" or a Beam runner.
        runner_options: of the runner, each "--KEY=VALUE".
        batch_rows: records a batch.
        memory: what a worker may hold for its batches, e.g. "2Gi"; larger batches are cut.
    """

    format: Literal["parquet", "tfrecord"] = "parquet"
    num_shards: int | None = None
    compression: Literal["none", "gzip", "zlib", "zstd", "snappy"] = "none"
    runner: str = "local"
    runner_options: tuple[str, ...] = ()
    batch_rows: int = 16384
    memory: str = "2Gi"

    def __post_init__(self) -> None:
        from transforms.batches.batch_cutter import memory_bytes

        check_types(self)
        require(self.batch_rows >= 1, "batch_rows", self.batch_rows, "1 or more")
        memory_bytes(self.memory)
        require(self.num_shards is None or self.num_shards >= 1, "num_shards", self.num_shards, "1 or more")


def run(
    config: TransformConfig,
    data: Dataset,
    graph: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    hints: Sequence[str] = (),
) -> TransformReport:
    """Returns the report after writing the shards.

    Args:
        config: settings.
        data: raw records.
        graph: transform graph, local or a URI.
        out: directory of the shards, local or a URI.
        hints: notes on the data that an error may come from, shown with it.

    Raises:
        ConfigError: a graph, runner or `out` that cannot work.
        DataError: bad data.
    """
    from transforms import transform

    return transform(
        data,
        graph,
        out,
        format=config.format,
        num_shards=config.num_shards,
        runner=config.runner,
        runner_options=config.runner_options,
        batch_rows=config.batch_rows,
        memory=config.memory,
        compression=None if config.compression == "none" else config.compression,
        hints=hints,
    )
