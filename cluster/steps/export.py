"""export: a checkpoint as a versioned SavedModel that answers raw tf.Examples, checked against the trained model."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.core.configs import check_types, require
from engine.core.errors import ConfigError
from engine.core.progress import Progress
from engine.storage.uris import require_local

if TYPE_CHECKING:
    from engine import Dataset

__all__ = ["ExportConfig", "ExportResult", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """A versioned SavedModel that takes raw tf.Examples, the transform inside.

    Attributes:
        build_model: name of the function in the user's module that made the model.
        check_rows: raw rows whose answers are compared with the trained model's; 0 for no check.
        sample_rows: raw rows that are kept beside the model, as warm-up requests and as the golden set that every server
            compares at load; 0 keeps none.
    """

    build_model: str = "build_model"
    check_rows: int = 1024
    sample_rows: int = 64

    def __post_init__(self) -> None:
        check_types(self)
        require(self.check_rows >= 0, "check_rows", self.check_rows, "0 or more")
        require(0 <= self.sample_rows <= 10_000, "sample_rows", self.sample_rows, "0 to 10,000")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What an export made.

    Attributes:
        version: directory OUT/VERSION.
        checked_rows: raw rows that were sent through it.
        difference: largest difference of its answers from the trained model's; None where nothing was compared.
    """

    version: Path
    checked_rows: int = 0
    difference: float | None = None


def run(
    config: ExportConfig,
    checkpoint: str,
    module: str,
    out: str | os.PathLike[str],
    *,
    graph: str | None = None,
    data: Dataset | None = None,
    metrics: Mapping[str, Any] | None = None,
    version: int | None = None,
) -> ExportResult:
    """Returns what was exported.

    Args:
        config: settings.
        checkpoint: a checkpoint, or a training directory.
        module: the user's Python file.
        out: directory of the versions, on a file system.
        graph: transform graph of the training; None where the model takes raw features.
        data: raw rows: they say which raw features there are, and are what the answers are compared on.
        metrics: for the card; None takes the last of the training.
        version: number of the version; None takes the next.

    Raises:
        ConfigError: neither graph nor data, an `out` on an object store, or a model that cannot be exported.
    """
    require_local("out", out)
    if graph is None and data is None:
        raise ConfigError("without a graph, data are needed: they say which features a raw example has (--data)")
    from cluster.user_code.module import user_function
    from trainers.export.from_checkpoint import check_export, export_checkpoint, rebuild_model
    from trainers.export.samples import sample_examples

    build_model = user_function(module, config.build_model)
    checked = data is not None and graph is not None and bool(config.check_rows)
    with Progress("export", 3 if checked else 1, "parts") as progress:
        path = export_checkpoint(
            checkpoint,
            build_model,
            out,
            transform_graph=graph,
            raw_feature_spec=None if data is None else data.feature_spec(),
            metrics=metrics,
            samples=() if data is None else sample_examples(data, config.sample_rows),
            version=version,
        )
        progress.advance(1, "model written")
        if data is None or graph is None or not config.check_rows:
            return ExportResult(version=path)
        rows = min(config.check_rows, data.num_records)
        model, built = rebuild_model(checkpoint, build_model, graph)
        progress.advance(1, f"compares {rows:,} rows")
        difference = check_export(path, model, data, graph, rows=rows, pad=built.pad)
        progress.advance(1)
    return ExportResult(version=path, checked_rows=rows, difference=difference)
