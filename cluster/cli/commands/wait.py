"""`fullpass wait`: until a job has finished."""

from __future__ import annotations

import argparse
import sys

from cluster.cli.jobs import add_launcher_arguments, chosen_launcher, finish
from cluster.launchers.status import JobStatus

__all__ = ["DESCRIPTION", "EPILOG", "add_arguments", "run"]

DESCRIPTION = "Wait until a job has finished, telling each change of its state. Exit code 0 if it succeeded, else 1."
EPILOG = """\
examples:
  fullpass wait clicks --timeout 3600
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="job")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="give up then; the job goes on")
    add_launcher_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""

    def tell(status: JobStatus) -> None:
        text = f": {status.message}" if status.message else ""
        print(f"{status.name} {status.state.value}{text}", file=sys.stderr, flush=True)

    status = chosen_launcher(args, args.name).wait(args.name, timeout_s=args.timeout, on_change=tell)
    return finish(status)
