"""The pipeline's [ingest]: the options of `engine.ingest` and of CSV under their own names, and what a pipeline adds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from cluster.pipeline.source_config import SourceConfig, SourceOptions, source_of
from engine.core.errors import ConfigError
from engine.dataset.sharding.parts.part_options import DEFAULT_FRACTIONS, PartKeys, PartOptions, check_part_name

__all__ = ["IngestConfig"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestConfig(SourceOptions, PartKeys):
    """From files as they come to shards of the parts train and eval, and perhaps others.

    Attributes:
        sources: name → path, or a table with a path and options of its own. The first is streamed in batches; the others are read
            whole and handed to the hook. A path `package:NAME/FILE` lies in an installed Python package.
        parts: part → path, or such a table, where files are split already; all sources are then handed to the hook.
        hook: function of the module, `hook(batch, tables) -> pyarrow.RecordBatch` of as many rows; none where empty.
        require: columns of the first source; a row that has null in one is set aside and counted.
        fractions: part → share of the records or keys; train = 0.8, eval = 0.2 where the data are not split otherwise.
        split_by: columns by whose hash records are put into parts; of the first source, or else of what the hook gives.
        stratify_by: column whose values each part has in the same shares.
        split_time: column of dates, times or numbers that is compared with eval_from and test_from.
        eval_from: first date, time or number of the part eval.
        test_from: first one of a third part, test.
        seed: another seed draws other records or keys.
        label: column whose values' shares are shown for each part; the pipeline's label where it is a raw column.
        formats: what is written; the first is what the later steps read.
        num_shards: files of each part and format.
        compression: of the shards of every format that takes it; a format that does not is written plain.
        input_format, feature_spec, filters, delimiter, encoding, header, column_names, skip_rows, quote, escape, null_values, types: how
            sources are read; see `cluster.pipeline.source_config.SourceOptions`.
    """

    sources: Mapping[str, str | SourceConfig] = dataclasses.field(default_factory=dict)
    parts: Mapping[str, str | SourceConfig] = dataclasses.field(default_factory=dict)
    hook: str = ""
    require: tuple[str, ...] = ()
    fractions: Mapping[str, float] | None = None
    split_by: tuple[str, ...] = ()
    formats: tuple[Literal["parquet", "tfrecord", "tfrecord-gzip"], ...] = ("parquet",)
    num_shards: int = 16
    compression: Literal["none", "gzip", "zlib", "zstd", "snappy"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sources and not self.parts:
            raise ConfigError("sources = {}: it must be at least one NAME = PATH")
        if not self.formats:
            raise ConfigError(f"formats = {self.formats!r}: it must be at least one format")
        if self.num_shards < 1:
            raise ConfigError(f"num_shards = {self.num_shards}: it must be 1 or more")
        if self.compression != "none" and not any(
            self.written_as(each)[1] == self.compression for each in self.formats
        ):
            raise ConfigError(
                f"compression = {self.compression!r}: none of the formats {', '.join(self.formats)} takes it"
            )
        for key in ("sources", "parts"):
            for name, given in getattr(self, key).items():
                _check_source(f"{key}.{name}", given, self)
        for name in self.parts:
            check_part_name(name)
        names = tuple(self.parts) or PartOptions(**self.part_arguments()).names
        ways = {dataclasses.replace(source, path="", filters=()) for source in self.part_sources().values()}
        if len(ways) > 1:
            raise ConfigError(
                f"parts: {', '.join(self.parts)} have different options; all are read as one, so give the options once"
            )
        if self.parts and any((self.fractions, self.split_by, self.stratify_by, self.split_time)):
            raise ConfigError(
                f"parts ({', '.join(self.parts)}) and a way to split the data are given; give one of both"
            )
        missing = [name for name in ("train", "eval") if name not in names]
        if missing:
            raise ConfigError(
                f"fractions or parts are {', '.join(names)}: a pipeline needs the parts train and eval, too"
            )

    def source(self, name: str) -> SourceConfig:
        """Returns a source with every option: its own, or else those here."""
        return source_of(self.sources[name], self)

    def part_sources(self) -> dict[str, SourceConfig]:
        """Returns the source of each part that is given by its files; all are written in one way."""
        return {name: source_of(given, self) for name, given in self.parts.items()}

    def written_as(self, format: str) -> tuple[str, str | None]:
        """Returns (format, compression) of one of the formats, as `engine.ingest` takes them."""
        from engine.formats.registry import format_module

        kind, _, packing = format.partition("-")
        takes = self.compression in format_module(kind).COMPRESSIONS
        return kind, packing or (self.compression if takes else None)

    def part_arguments(self) -> dict[str, Any]:
        """Returns how records are split, as `engine.ingest` takes it."""
        fractions = self.fractions
        if not (fractions or self.split_by or self.stratify_by or self.split_time or self.parts):
            fractions = DEFAULT_FRACTIONS
        return {
            "fractions": fractions or None, "split_by": self.split_by, "stratify_by": self.stratify_by,
            "split_time": self.split_time, "eval_from": self.eval_from, "test_from": self.test_from, "seed": self.seed,
        }  # fmt: skip

    def split_columns(self) -> list[str]:
        """Returns the columns that records are split by."""
        return [
            *self.split_by,
            *([self.stratify_by] if self.stratify_by else []),
            *([self.split_time] if self.split_time else []),
        ]


def _check_source(key: str, given: str | SourceConfig, table: SourceOptions) -> None:
    try:
        source_of(given, table).csv_options()
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None
