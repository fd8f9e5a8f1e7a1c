"""How the sources of [ingest] and [data] are read: options of the table, and in their place those of one source."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from cluster.pipeline.column_types import flat_types
from engine.core.configs import check_types
from engine.formats.csv.options import CsvDialect, CsvOptions

__all__ = ["SourceConfig", "SourceOptions", "rooted", "source_of"]

InputFormat = Literal["csv", "parquet", "arrow", "orc", "avro", "jsonl", "tfrecord"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceOptions(CsvDialect):
    """Options of every source of a table.

    Attributes:
        input_format: what the sources are, whatever they are called; found out where empty.
        feature_spec: path of a Schema of TensorFlow Metadata (`schema.pbtxt`) with their columns; found out where empty.
        filters: on the keys of their directories, such as "year>=2024": files that do not pass all are not read.
        delimiter, encoding, header, column_names, skip_rows, quote, escape, null_values: how CSV sources are written; see
            `engine.formats.csv.options.CsvDialect`.
        types: COLUMN or SOURCE.COLUMN → "int64", "float32" or "string", for CSV; a value that does not fit is an error. The
            type of every other column is inferred from all its values.
    """

    input_format: InputFormat | None = None
    feature_spec: str | None = None
    filters: tuple[str, ...] = ()
    types: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", flat_types(self.types))
        source_of("", self).csv_options()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One source: its path, and options in place of its table's; None takes the table's.

    Attributes:
        path: file, directory or glob; `package:NAME/FILE` lies in an installed Python package.
        input_format, feature_spec, filters, delimiter, encoding, header, column_names, skip_rows, quote, escape, null_values: see
            `SourceOptions`.
    """

    path: str
    input_format: InputFormat | None = None
    feature_spec: str | None = None
    filters: tuple[str, ...] | None = None
    delimiter: str | None = None
    encoding: str | None = None
    header: bool | None = None
    column_names: tuple[str, ...] | None = None
    skip_rows: int | None = None
    quote: str | None = None
    escape: str | None = None
    null_values: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_types(self)

    def csv_options(self, column_types: Mapping[str, str] | None = None) -> CsvOptions:
        """Returns how it is written, where it is CSV.

        Args:
            column_types: declared types of its columns.
        """
        names = [field.name for field in dataclasses.fields(CsvDialect)]
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return CsvOptions(**given, column_types=column_types or {})


def source_of(given: str | SourceConfig, table: SourceOptions) -> SourceConfig:
    """Returns a source with every option: its own, or else its table's."""
    source = SourceConfig(path=given) if isinstance(given, str) else given
    names = [field.name for field in dataclasses.fields(SourceConfig) if field.name != "path"]
    missing = {name: getattr(table, name) for name in names if getattr(source, name) is None}
    return dataclasses.replace(source, **missing)


def rooted(given: str | SourceConfig, root: Callable[[str], str]) -> str | SourceConfig:
    """Returns a source whose paths `root` made absolute."""
    if isinstance(given, str):
        return root(given)
    spec = root(given.feature_spec) if given.feature_spec else given.feature_spec
    return dataclasses.replace(given, path=root(given.path), feature_spec=spec)
