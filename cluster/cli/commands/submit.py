"""`fullpass submit`: a job on this machine, Ray or Kubernetes."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cluster.cli.jobs import add_launcher_arguments, follow, launcher_options
from cluster.cli.submit_flags import add_spec_arguments, spec_from_args
from engine.core.errors import ConfigError
from engine.core.redaction import HIDDEN, is_secret_name, redact

if TYPE_CHECKING:
    from cluster.spec import JobSpec

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
    parser.add_argument(
        "--show-secrets", action="store_true", help="with --dry-run: print values of --env that look like secrets, too"
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

        shown, hidden = (spec, []) if args.show_secrets else _without_secrets(spec)
        text = yaml.safe_dump_all(place.render(shown), sort_keys=False)
        if not args.show_secrets and (safe := redact(text)) != text:
            text, hidden = safe, [*hidden, "credentials in URIs"]
        print(text, end="")
        if hidden:
            print(
                f"fullpass: not shown: {', '.join(hidden)}; what is printed is not what would be created. --show-secrets prints "
                "them; better, keep them in a Secret (--secret NAME=SECRET:KEY)",
                file=sys.stderr,
            )
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


def _without_secrets(spec: JobSpec) -> tuple[JobSpec, list[str]]:
    """Returns the job without the values of variables that hold secrets, and their names."""
    hidden = [name for name in spec.env if is_secret_name(name)]
    return dataclasses.replace(spec, env={**spec.env, **dict.fromkeys(hidden, HIDDEN)}), hidden


def _check_step(step: str, words: Sequence[str]) -> None:
    """Ends with the step's own usage where it would not take these words: not only in a pod, minutes later."""
    from cluster.cli.main import available_commands, build_parser

    if step not in available_commands():
        raise ConfigError(f"--step {step!r} is not a fullpass command; choose from {', '.join(available_commands())}")
    build_parser(step)[0].parse_args([step, *words])
