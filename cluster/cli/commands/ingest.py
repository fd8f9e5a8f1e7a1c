"""`fullpass ingest`: CSV, Parquet or TFRecord into even shards with a manifest."""

from __future__ import annotations

import argparse

DESCRIPTION = (
    "Writes CSV (plain, .gz, .zip), Parquet or TFRecord files as even shards into a directory that appears whole, "
    "optionally split by the hash of key columns. Record counts are reconciled from end to end."
)
EPILOG = """examples:
  fullpass ingest raw/*.csv --out data --num-shards 16 --compression zstd
  fullpass ingest raw --out data --format tfrecord --compression gzip
  fullpass ingest raw.csv --out data --split-by user_id --fractions train=0.8,eval=0.2
  fullpass ingest raw.csv --out data --type price=float32 --type zip=string
"""

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files, globs or directories")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="directory to write; a former result there is replaced"
    )
    parser.add_argument(
        "--format", default="parquet", metavar="FORMAT", help="parquet or tfrecord (default: %(default)s)"
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
    parser.add_argument("--split-by", default="", metavar="KEY[,KEY]", help="key columns; equal keys stay together")
    parser.add_argument("--fractions", default="", metavar="NAME=SHARE,...", help="parts, such as train=0.8,eval=0.2")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another seed draws other keys (default: %(default)s)"
    )
    parser.add_argument("--delimiter", metavar="CHAR", help="of CSV (default: by the file's name)")
    parser.add_argument(
        "--encoding",
        default="utf-8",
        metavar="NAME",
        help="of CSV, such as latin-1, cp1252 or utf-16 (default: %(default)s)",
    )
    parser.add_argument(
        "--type",
        action="append",
        default=[],
        metavar="COLUMN=TYPE",
        help="type of a CSV column, int64, float32 or string; a value that does not fit is an error; repeatable "
        "(default: what all its values fit)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    import json

    from engine.formats.csv.reader import CsvOptions
    from engine.ingest.ingestion import ingest

    report = ingest(
        args.paths if len(args.paths) > 1 else args.paths[0],
        args.out,
        args.format,
        args.num_shards,
        None if args.compression == "none" else args.compression,
        split_by=[name for name in args.split_by.split(",") if name],
        fractions=_fractions(args.fractions),
        seed=args.seed,
        csv_options=CsvOptions(delimiter=args.delimiter, encoding=args.encoding, column_types=_types(args.type)),
    )
    parts = {name or "all": manifest.num_records for name, manifest in report.parts.items()}
    if args.json:
        print(
            json.dumps(
                {
                    "out": report.out,
                    "num_records": report.num_records,
                    "parts": parts,
                    "seconds": report.seconds,
                    "notes": report.notes,
                }
            )
        )
        return 0
    for name, count in parts.items():
        print(f"{name}: {count:,} records in {args.num_shards} shards")
    print(f"{report.num_records:,} records, {report.seconds:.1f} s: {report.out}")
    for note in report.notes:
        print(f"note: {note}; if it is meant to be a number, --type COLUMN=float32 makes such a value an error")
    return 0


def _types(words: list[str]) -> dict[str, str]:
    from engine.core.errors import ConfigError

    types = {}
    for word in words:
        column, equals, kind = word.rpartition("=")
        if not equals or not column:
            raise ConfigError(f"--type {word}: expected COLUMN=TYPE, such as price=float32")
        types[column] = kind
    return types


def _fractions(text: str) -> dict[str, float] | None:
    from engine.core.errors import ConfigError

    if not text:
        return None
    try:
        return {name: float(share) for name, share in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise ConfigError(
            f"--fractions is {text!r}; it takes NAME=SHARE,NAME=SHARE such as train=0.8,eval=0.2"
        ) from None
