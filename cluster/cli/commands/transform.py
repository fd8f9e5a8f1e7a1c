"""`fullpass transform`: records through a transform graph, into shards."""

from __future__ import annotations

import argparse

from cluster.cli.data_flags import add_data_flags, open_data
from cluster.cli.pass_flags import add_pass_flags

DESCRIPTION = "Applies a transform graph to all records and writes them as shards, in the order of the records."
EPILOG = """examples:
  fullpass transform data/train/*.tfrecord.gz --graph graph --out data/transformed
  fullpass transform data/train --graph graph --out data/transformed --format tfrecord --compression gzip --num-shards 64
"""

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files, globs, directories or a manifest")
    parser.add_argument("--graph", required=True, metavar="DIR", help="transform graph, as analyze wrote it")
    parser.add_argument("--out", required=True, metavar="DIR", help="directory of the shards")
    parser.add_argument("--format", choices=("parquet", "tfrecord"), default="parquet", help="default: %(default)s")
    parser.add_argument("--num-shards", type=int, metavar="N", help="shards of equal size (default: one a split)")
    parser.add_argument(
        "--compression",
        choices=("none", "gzip", "zlib", "zstd", "snappy"),
        default="none",
        help="none, gzip; tfrecord also zlib; parquet also zstd, snappy (default: %(default)s)",
    )
    add_pass_flags(parser, batch_rows=16384)
    add_data_flags(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    import dataclasses
    import json

    from cluster.steps import transform
    from engine.machine.quiet import import_tensorflow

    import_tensorflow("tensorflow_transform")
    config = transform.TransformConfig(
        format=args.format,
        num_shards=args.num_shards,
        compression=args.compression,
        runner=args.runner,
        runner_options=args.runner_option,
        batch_rows=args.batch_rows,
        memory=args.memory,
    )
    report = transform.run(config, open_data(args), args.graph, args.out)
    if args.json:
        print(json.dumps(dataclasses.asdict(report)))
    else:
        print(f"{report.records:,} records into {report.shards} shards, {report.seconds:.1f} s: {report.path}")
    return 0
