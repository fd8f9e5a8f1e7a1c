"""`fullpass ingest`: CSV, Parquet or TFRecord into even shards with a manifest."""

from __future__ import annotations

import argparse
from typing import Any

from cluster.cli.data_flags import add_data_flags

DESCRIPTION = (
    "Writes CSV (plain, gzip, bzip2, zstd, xz, zip), Parquet, TFRecord, JSON lines, Arrow, ORC or Avro files as even shards "
    "into a directory that appears whole, optionally split into parts. Record counts are reconciled from end to end."
)
EPILOG = """examples:
  fullpass ingest raw/*.csv --out data --num-shards 16 --compression zstd
  fullpass ingest raw --out data --format tfrecord --compression gzip
  zcat log.gz | fullpass ingest - --out data --delimiter tab --no-header --column-names user,item,time

split into parts, each a directory below --out:
  fullpass ingest raw.csv --out data --fractions train=0.8,eval=0.1,test=0.1      records at random
  fullpass ingest raw.csv --out data --split-by user_id                           all records of a user in one part
  fullpass ingest raw.csv --out data --stratify-by label                          the same shares of labels in each
  fullpass ingest raw.csv --out data --split-by user_id --stratify-by label       both
  fullpass ingest raw.csv --out data --split-time day --eval-from 2013-11-01      by time
  fullpass ingest --part train=old.csv --part eval=new.csv --out data             files that are split already
"""

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files, globs, directories, or - for standard input")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="directory to write; a former result there is replaced"
    )
    parser.add_argument(
        "--format",
        default="parquet",
        metavar="FORMAT",
        help="of the shards, parquet or tfrecord (default: %(default)s); csv is understood as --input-format csv",
    )
    parser.add_argument(
        "--num-shards", type=int, default=16, metavar="N", help="files of each part (default: %(default)s)"
    )
    parser.add_argument(
        "--compression",
        default="none",
        metavar="CODEC",
        help="none, gzip; tfrecord also zlib; parquet also zstd, snappy (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    _add_parts(parser.add_argument_group("parts"))
    _add_csv(parser.add_argument_group("how the sources are written"))


def _add_parts(group: Any) -> None:
    group.add_argument(
        "--fractions",
        metavar="NAME=SHARE,...",
        help="parts and their shares (default, with --split-by or --stratify-by: train=0.8,eval=0.2)",
    )
    group.add_argument("--split-by", default="", metavar="KEY[,KEY]", help="key columns; equal keys stay together")
    group.add_argument(
        "--stratify-by",
        metavar="COLUMN",
        help="each part gets the same shares of this column's values; with --split-by as near as whole keys allow",
    )
    group.add_argument("--split-time", metavar="COLUMN", help="split by a column of dates, times or numbers")
    group.add_argument("--eval-from", metavar="TIME", help="first date, time or number of the part eval")
    group.add_argument("--test-from", metavar="TIME", help="first date, time or number of a third part, test")
    group.add_argument(
        "--part",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="a file, glob or directory of a part; repeatable",
    )
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="another seed draws other records or keys (default: %(default)s)",
    )
    group.add_argument(
        "--label",
        metavar="COLUMN",
        help="show the shares of this column's values in each part (default: --stratify-by's)",
    )


def _add_csv(group: Any) -> None:
    group.add_argument(
        "--input-format",
        metavar="FORMAT",
        help="csv, parquet, tfrecord, jsonl, arrow, orc or avro, whatever the files are called (default: found out)",
    )
    add_data_flags(group)
    group.add_argument(
        "--delimiter",
        metavar="CHAR",
        help="of CSV: a character, or tab, comma, semicolon, pipe, space (default: by the file's name, else a comma)",
    )
    group.add_argument(
        "--encoding",
        default="utf-8",
        metavar="NAME",
        help="of CSV, such as latin-1, cp1252 or utf-16 (default: %(default)s)",
    )
    group.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether CSV begins with a row of names (default: yes, unless --column-names are given)",
    )
    group.add_argument(
        "--column-names", metavar="NAME,...", help="names of CSV columns, in place of the header's where there is one"
    )
    group.add_argument(
        "--skip-rows",
        type=int,
        default=0,
        metavar="N",
        help="lines of CSV before the header to leave out (default: %(default)s)",
    )
    group.add_argument(
        "--quote",
        default='"',
        metavar="CHAR",
        help="around CSV values: a character, or double, single, none (default: double)",
    )
    group.add_argument(
        "--escape",
        default="",
        metavar="CHAR",
        help="makes the next character a part of a CSV value: a character, or backslash, none (default: none)",
    )
    group.add_argument(
        "--null-values",
        metavar="TEXT,...",
        help="unquoted texts that mean missing in every CSV column (default: NA, null, nan and the like in columns of numbers)",
    )
    group.add_argument(
        "--type",
        action="append",
        default=[],
        metavar="COLUMN=TYPE",
        help="type of a CSV column, int64, float32 or string; a value that does not fit is an error; repeatable "
        "(default: what all its values fit)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    import json

    from cluster.cli.stop import exit_on_sigterm
    from engine.dataset.sharding.parts.part_options import parse_fractions
    from engine.formats.csv.options import CsvOptions
    from engine.ingestion.ingestion import ingest

    if args.format == "csv":
        args.format, args.input_format = "parquet", "csv"
    options = CsvOptions(
        delimiter=args.delimiter,
        encoding=args.encoding,
        header=args.header,
        column_names=_words(args.column_names),
        skip_rows=args.skip_rows,
        quote=args.quote,
        escape=args.escape,
        null_values=_words(args.null_values),
        column_types=_types(args.type),
    )
    with exit_on_sigterm():
        report = ingest(
            _sources(args.paths, args.part),
            args.out,
            args.format,
            args.num_shards,
            None if args.compression == "none" else args.compression,
            fractions=None if args.fractions is None else parse_fractions(args.fractions),
            split_by=[name for name in args.split_by.split(",") if name],
            stratify_by=args.stratify_by,
            split_time=args.split_time,
            eval_from=args.eval_from,
            test_from=args.test_from,
            seed=args.seed,
            label=args.label,
            feature_spec=args.feature_spec,
            input_format=args.input_format,
            filters=args.filter,
            csv_options=options,
        )
    if args.json:
        parts = {name or "all": manifest.num_records for name, manifest in report.parts.items()}
        facts = {"out": report.out, "num_records": report.num_records, "parts": parts, "seconds": report.seconds}
        print(json.dumps({**facts, "labels": report.labels, "notes": report.notes}))
        return 0
    for line in report.lines():
        print(line)
    print(f"{report.num_records:,} records, {report.seconds:.1f} s: {report.out}")
    for note in report.notes:
        print(f"note: {note}")
    if any("is text" in note for note in report.notes):
        print("note: if such a column is meant to be of numbers, --type COLUMN=float32 makes such a value an error")
    return 0


def _sources(paths: list[str], parts: list[str]) -> Any:
    from engine.core.errors import ConfigError

    if bool(paths) == bool(parts):
        raise ConfigError("give the files to ingest, or with --part NAME=PATH those of each part")
    if not parts:
        return paths if len(paths) > 1 else paths[0]
    files: dict[str, list[str]] = {}
    for word in parts:
        name, equals, path = word.partition("=")
        if not equals or not path:
            raise ConfigError(f"--part {word}: expected NAME=PATH, such as train=old.csv")
        files.setdefault(name, []).append(path)
    return files


def _words(text: str | None) -> tuple[str, ...] | None:
    """The words of a line of CSV: a name with a comma is quoted."""
    import csv

    return None if text is None else tuple(next(csv.reader([text]), [""]))


def _types(words: list[str]) -> dict[str, str]:
    from engine.core.errors import ConfigError

    types = {}
    for word in words:
        column, equals, kind = word.rpartition("=")
        if not equals or not column:
            raise ConfigError(f"--type {word}: expected COLUMN=TYPE, such as price=float32")
        types[column] = kind
    return types
