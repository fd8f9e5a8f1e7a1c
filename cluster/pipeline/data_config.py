"""The pipeline's [data]: files that are split already, read as they are, or ingested first where they are CSV."""

from __future__ import annotations

import dataclasses

from cluster.pipeline.ingest_config import IngestConfig
from cluster.pipeline.source_config import SourceConfig, SourceOptions, source_of
from engine.core.errors import ConfigError, DataError

__all__ = ["DataConfig", "ingest_of_text"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(SourceOptions):
    """Data that are split already, in place of [ingest]: files, a glob, a directory or a manifest for each split.

    What steps read directly (Parquet, TFRecord, JSON lines, Arrow, ORC, Avro) stays where it is; CSV goes through the step ingest.

    Attributes:
        train: path, or a table with a path and options of its own.
        eval: the same.
    """

    train: str | SourceConfig
    eval: str | SourceConfig

    def source(self, split: str) -> SourceConfig:
        """Returns the source of "train" or "eval" with every option."""
        return source_of(getattr(self, split), self)


def ingest_of_text(data: DataConfig) -> IngestConfig | None:
    """Returns the [ingest] that turns CSV into shards of the same parts, or None where the files are read as they are.

    Raises:
        ConfigError: one split is CSV and the other is not, or options of CSV for other files.
    """
    text = {split: _is_csv(data.source(split)) for split in ("train", "eval")}
    if text["train"] != text["eval"]:
        csv, other = sorted(text, key=lambda split: not text[split])
        raise ConfigError(f"data: {csv} is CSV and {other} is not; both must be files of one kind")
    if text["train"]:
        options = {field.name: getattr(data, field.name) for field in dataclasses.fields(SourceOptions)}
        return IngestConfig(parts={"train": data.train, "eval": data.eval}, **options)
    for split in ("train", "eval"):
        odd = data.source(split).csv_options().differing()
        if odd or data.types:
            raise ConfigError(f"data.{odd[0] if odd else 'types'}: is for CSV, which {data.source(split).path} is not")
    return None


def _is_csv(source: SourceConfig) -> bool:
    from cluster.pipeline.input_files import source_path
    from engine.ingestion.file_kind import are_csv_files
    from engine.storage import paths

    if source.input_format is not None:
        return source.input_format == "csv"
    try:
        return are_csv_files(paths.expand(source_path(source.path)))
    except (DataError, FileNotFoundError):  # whoever reads it says so
        return False
