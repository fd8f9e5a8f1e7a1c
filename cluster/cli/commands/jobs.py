"""`fullpass jobs`: all jobs of a place."""

from __future__ import annotations

import argparse

from cluster.cli.jobs import add_launcher_arguments, chosen_launcher, show

__all__ = ["DESCRIPTION", "EPILOG", "add_arguments", "run"]

DESCRIPTION = "List the jobs of this machine, of a Ray cluster, or of a Kubernetes namespace, the newest first."
EPILOG = """\
examples:
  fullpass jobs
  fullpass jobs --launcher kubernetes --namespace ml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_launcher_arguments(parser, default="local")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    show(chosen_launcher(args).list(), as_json=args.json)
    return 0
