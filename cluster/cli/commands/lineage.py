"""`fullpass lineage`: where a version comes from, and whether every link of that chain still holds."""

from __future__ import annotations

import argparse

from cluster.cli.data_flags import add_data_flags, open_data
from engine.core.exit_codes import NOT_MET

DESCRIPTION = (
    "Prints the chain of a model from what is served back to its data: digest of its files, push, evaluation, configuration, code, "
    "checkpoint, transform graph, manifests of the training data and of the analyzed data; and checks each link against what is "
    "there. Exit code 3 where one is broken."
)
EPILOG = """examples:
  fullpass lineage serving/3
  fullpass lineage serving/3 --data out/train --graph out/graph    also hold data and graph against the model card
  fullpass lineage serving/3 --data out/train --raw-data raw --deep    and read every byte of both
  fullpass lineage models/7 --json
"""

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("version", metavar="VERSION", help="directory of one version, exported or pushed")
    parser.add_argument("--data", metavar="PATH", help="data that it was trained on, to check (default: not checked)")
    parser.add_argument(
        "--graph", metavar="DIR", help="its transform graph, to check (default: where it was at the export)"
    )
    parser.add_argument(
        "--checkpoint", metavar="DIR", help="its checkpoint, to check (default: where it was at the export)"
    )
    parser.add_argument(
        "--raw-data", metavar="PATH", help="data that the graph was made of, to check (default: not checked)"
    )
    parser.add_argument("--deep", action="store_true", help="read every byte of the data that are given")
    add_data_flags(parser)
    parser.add_argument("--json", action="store_true", help="print the chain as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    import dataclasses
    import json

    from trainers.serving.lineage import lineage

    links = lineage(
        args.version,
        data=None if args.data is None else open_data(args, args.data),
        transform_graph=args.graph,
        raw_data=args.raw_data,
        checkpoint=args.checkpoint,
        deep=args.deep,
    )
    if args.json:
        print(json.dumps([dataclasses.asdict(link) for link in links], indent=1))
    else:
        for link in links:
            print(link)
    return NOT_MET if any(link.holds is False for link in links) else 0
