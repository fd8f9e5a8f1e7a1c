"""`fullpass logs`: what a job writes."""

from __future__ import annotations

import argparse

from cluster.cli.jobs import add_launcher_arguments, chosen_launcher, follow
from cluster.launchers.log_query import LogQuery
from engine.core.errors import ConfigError

__all__ = ["DESCRIPTION", "EPILOG", "add_arguments", "run"]

DESCRIPTION = (
    "Print what the members of a job wrote, each line with its member in front. With --follow, go on until the job has "
    "finished: a lost connection is taken up again, and Ctrl-C leaves the job running."
)
EPILOG = """\
examples:
  fullpass logs clicks
  fullpass logs -f clicks
  fullpass logs clicks --member worker-1 --tail 50
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="job")
    parser.add_argument("--follow", "-f", action="store_true", help="go on until the job has finished")
    parser.add_argument("--member", metavar="ROLE[-INDEX]", help="only this one, e.g. worker-0 or ps")
    parser.add_argument("--tail", type=int, metavar="N", help="only the last N lines of each member")
    add_launcher_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    role, index = _member(args.member)
    query = LogQuery(follow=args.follow, role=role, index=index, tail=args.tail)
    place = chosen_launcher(args, args.name)
    if args.follow:
        return follow(place, args.name, query)
    for line in place.lines(args.name, query):
        print(line)
    return 0


def _member(text: str | None) -> tuple[str | None, int | None]:
    if not text:
        return None, None
    role, dash, index = text.partition("-")
    if dash and not index.isdecimal():
        raise ConfigError(f"--member {text}: expected e.g. worker-0 or worker")
    return role, int(index) if dash else None
