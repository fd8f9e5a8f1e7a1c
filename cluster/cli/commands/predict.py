"""`fullpass predict`: a model's answers to a whole data set."""

from __future__ import annotations

import argparse

from cluster.cli.data_flags import add_data_flags, open_data
from cluster.cli.pass_flags import add_runner_flags

DESCRIPTION = "Writes an exported model's outputs for every row of a raw data set, in the data's order, as shards with a manifest."
EPILOG = """examples:
  fullpass predict models data/eval --out predictions --keep user_id
  fullpass predict models/7 's3://bucket/day=2024-06-01/*.parquet' --out s3://bucket/scores --format tfrecord
  fullpass predict models data/eval --out predictions --runner flink --runner-option=--flink_master=host:8081
"""

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="SavedModel, or directory of its versions (the newest)")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="raw data: files, globs, directories or a manifest")
    parser.add_argument("--out", required=True, metavar="DIR", help="directory of the shards, a path or a URI")
    parser.add_argument(
        "--keep", action="append", default=[], metavar="COLUMN", help="column written beside the outputs; repeatable"
    )
    parser.add_argument(
        "--output", action="append", default=[], metavar="NAME", help="output of the model; repeatable (default: all)"
    )
    parser.add_argument("--format", choices=("parquet", "tfrecord"), default="parquet", help="default: %(default)s")
    parser.add_argument("--num-shards", type=int, default=16, metavar="N", help="files (default: %(default)s)")
    parser.add_argument("--compression", metavar="NAME", help="gzip; zstd and snappy for Parquet")
    add_data_flags(parser)
    add_runner_flags(parser)
    parser.add_argument("--batch-rows", type=int, default=16384, metavar="N", help="rows a call (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from engine.machine.quiet import import_tensorflow

    import_tensorflow()
    from trainers.serving.predict import predict

    report = predict(
        args.model,
        open_data(args),
        args.out,
        keep=args.keep,
        outputs=args.output,
        format=args.format,
        num_shards=args.num_shards,
        compression=args.compression,
        batch_rows=args.batch_rows,
        runner=args.runner,
        runner_options=args.runner_option,
    )
    print(f"{report.rows:,} rows: {', '.join(report.columns)} in {args.out}")
    return 0
