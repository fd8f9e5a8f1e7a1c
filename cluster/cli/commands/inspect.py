"""`fullpass inspect`: what a data set holds."""

from __future__ import annotations

import argparse

from cluster.cli.data_flags import add_data_flags, open_data

DESCRIPTION = "Shows files, records, columns and blocks of Parquet or TFRecord data, and can write its manifest."
EPILOG = """examples:
  fullpass inspect data/train
  fullpass inspect data/train --rows 3
  fullpass inspect data/train --write-manifest
"""

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files, globs, directories or a manifest")
    parser.add_argument("--rows", type=int, default=0, metavar="N", help="show the first N records")
    parser.add_argument(
        "--write-manifest", action="store_true", help="look at every record and write the manifest beside the data"
    )
    add_data_flags(parser)
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    import json
    import sys

    from engine.dataset.inspect import describe, first_rows, write_manifest

    dataset = open_data(args)
    if args.write_manifest:
        print(f"wrote {write_manifest(dataset)}", file=sys.stderr)
    print(json.dumps(dataset.manifest.to_json(), indent=1) if args.json else describe(dataset))
    if args.rows:
        for row in first_rows(dataset, args.rows):
            print(json.dumps(row, default=repr))
    return 0
