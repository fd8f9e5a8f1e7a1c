"""`fullpass cancel`: stops jobs."""

from __future__ import annotations

import argparse

from cluster.cli.jobs import add_launcher_arguments, chosen_launcher
from cluster.launchers.state import forget

__all__ = ["DESCRIPTION", "EPILOG", "add_arguments", "run"]

DESCRIPTION = "Stop jobs and remove everything that they made on the cluster. Volumes and what is on them stay."
EPILOG = """\
examples:
  fullpass cancel clicks
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="job")
    add_launcher_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    for name in args.names:
        chosen_launcher(args, name).cancel(name)
        forget(name)
        print(f"{name} cancelled; nothing of it is left")
    return 0
