"""`fullpass submit`: a job on this machine, Ray or Kubernetes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cluster.cli.jobs import add_launcher_arguments, follow, launcher_options
from cluster.cli.submit_flags import add_spec_arguments, spec_from_args
from engine.core.errors import ConfigError

__all__ = ["DESCRIPTION", "EPILOG", "add_arguments", "run"]

DESCRIPTION = (
    "Run a pipeline, a step, a training program of your own or any command as a job. Words after `--` go to it. "
    "The job outlives this command."
)
EPILOG = """\
examples:
  fullpass submit --name clicks --step train --workers 2 --follow -- --module clicks.py --graph out/graph ...
  fullpass submit --name clicks --launcher kubernetes --image registry.example/fullpass:1 --step train --workers 4 \\
      --gpu 1 --memory 16Gi --volume claim=training:/data --file clicks.py -- --module /fullpass/files/clicks.py ...
  fullpass submit --launcher kubernetes --kind jobset --spec job.json --dry-run          print the YAML
  fullpass submit --launcher kubernetes --kind jobset --spec job.json --dry-run=server   ask the cluster
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_spec_arguments(parser)
    add_launcher_arguments(parser, default="local")
    parser.add_argument(
        "--dry-run",
        nargs="?",
        const="client",
        choices=("client", "server"),
        help="print what would be created; with =server also ask the cluster to check it",
    )
    parser.add_argument("--follow", "-f", action="store_true", help="print the job's lines until it has finished")
    parser.add_argument("args", nargs="*", metavar="-- WORDS", help="for the program that runs")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from cluster.launchers import launcher
    from cluster.launchers.state import remember

    spec = spec_from_args(args)
    if spec.step:
        _check_step(spec.step, spec.args)
    options = launcher_options(args, args.launcher)
    place = launcher(args.launcher, **options)
    if args.dry_run:
        import yaml

        print(yaml.safe_dump_all(place.render(spec), sort_keys=False), end="")
        if args.dry_run == "server":
            place.submit(spec, dry_run=True)
            print(f"{spec.name}: {place.name} accepts it; nothing was created", file=sys.stderr)
        return 0
    if place.ends_with_process and not args.follow:
        raise ConfigError("--address local is a Ray that ends with this command: add --follow, or name a running Ray")
    place.submit(spec)
    remember(spec.name, args.launcher, options)
    print(f"{spec.name} submitted to {place.name} ({spec.num_pods} members)", file=sys.stderr, flush=True)
    if args.follow:
        return follow(place, spec.name)
    print(f"fullpass status {spec.name}; fullpass logs -f {spec.name}; fullpass cancel {spec.name}", file=sys.stderr)
    return 0


def _check_step(step: str, words: Sequence[str]) -> None:
    """Ends with the step's own usage where it would not take these words: not only in a pod, minutes later."""
    from cluster.cli.main import available_commands, build_parser

    if step not in available_commands():
        raise ConfigError(f"--step {step!r} is not a fullpass command; choose from {', '.join(available_commands())}")
    build_parser(step)[0].parse_args([step, *words])
