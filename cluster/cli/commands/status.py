"""`fullpass status`: the state of jobs."""

from __future__ import annotations

import argparse

from cluster.cli.jobs import add_launcher_arguments, chosen_launcher, show

__all__ = ["DESCRIPTION", "EPILOG", "add_arguments", "run"]

DESCRIPTION = "Show the state of submitted jobs: of each member, and why it waits or failed."
EPILOG = """\
examples:
  fullpass status clicks             a job that was submitted from here
  fullpass status clicks --json      for programs
  fullpass status clicks --launcher kubernetes --kind tfjob --namespace ml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="job")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_launcher_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    show([chosen_launcher(args, name).status(name) for name in args.names], as_json=args.json)
    return 0
