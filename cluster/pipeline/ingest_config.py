"""The pipeline's [ingest]: the options of `engine.ingest` and of CSV under their own names, and what a pipeline adds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from cluster.pipeline.column_types import flat_types
from engine.core.errors import ConfigError
from engine.formats.csv.options import CsvOptions
from engine.ingestion.parts.part_options import DEFAULT_FRACTIONS, PartOptions, check_part_name

__all__ = ["IngestConfig"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestConfig:
    """From files as they come to shards of the parts train and eval, and perhaps others.

    Attributes:
        sources: name → path. The first is streamed in batches; the others are read whole and handed to the hook. A path
            `package:NAME/FILE` lies in an installed Python package.
        parts: part → path, where files are split already; all sources are then handed to the hook.
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
        compression: of the Parquet shards.
        input_format: what the sources are, whatever they are called; found out where empty.
        delimiter, encoding, header, column_names, skip_rows, quote, null_values: how CSV sources are written; see
            `engine.formats.csv.options.CsvOptions`.
        types: COLUMN or SOURCE.COLUMN → "int64", "float32" or "string", for CSV; a value that does not fit is an error. The
            type of every other column is inferred from all its values.
    """

    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
    parts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    hook: str = ""
    require: tuple[str, ...] = ()
    fractions: Mapping[str, float] | None = None
    split_by: tuple[str, ...] = ()
    stratify_by: str | None = None
    split_time: str | None = None
    eval_from: Any = None
    test_from: Any = None
    seed: int = 0
    label: str | None = None
    formats: tuple[Literal["parquet", "tfrecord", "tfrecord-gzip"], ...] = ("parquet",)
    num_shards: int = 16
    compression: Literal["none", "snappy", "zstd", "gzip"] = "none"
    input_format: Literal["csv", "parquet", "arrow", "orc", "avro", "jsonl", "tfrecord"] | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"
    header: bool | None = None
    column_names: tuple[str, ...] | None = None
    skip_rows: int = 0
    quote: str = '"'
    null_values: tuple[str, ...] | None = None
    types: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", flat_types(self.types))
        if not self.sources and not self.parts:
            raise ConfigError("sources = {}: it must be at least one NAME = PATH")
        if not self.formats:
            raise ConfigError("formats = (): it must be at least one format")
        if self.num_shards < 1:
            raise ConfigError(f"num_shards = {self.num_shards}: it must be 1 or more")
        self.csv_options()
        for name in self.parts:
            check_part_name(name)
        names = tuple(self.parts) or PartOptions(**self.part_arguments()).names
        if self.parts and any((self.fractions, self.split_by, self.stratify_by, self.split_time)):
            raise ConfigError("parts and a way to split the data are given; give one of both")
        missing = [name for name in ("train", "eval") if name not in names]
        if missing:
            raise ConfigError(
                f"fractions or parts are {', '.join(names)}: a pipeline needs the parts train and eval, too"
            )

    def csv_options(self, column_types: Mapping[str, str] | None = None) -> CsvOptions:
        """Returns how CSV sources are written.

        Args:
            column_types: declared types of one source's columns.
        """
        return CsvOptions(
            delimiter=self.delimiter, encoding=self.encoding, header=self.header, column_names=self.column_names,
            skip_rows=self.skip_rows, quote=self.quote, null_values=self.null_values, column_types=column_types or {},
        )  # fmt: skip

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
