"""What the commands about jobs share: which launcher, how a state reads, following until the end."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable

from cluster.launchers import JobState, JobStatus, Launcher, launcher
from cluster.launchers.log_query import LogQuery
from cluster.launchers.state import recall
from engine.core.errors import ConfigError
from engine.core.exit_codes import INTERRUPTED

__all__ = ["add_launcher_arguments", "chosen_launcher", "follow", "launcher_options", "show"]

_TO_THE_END = LogQuery(follow=True)
_OPTIONS = {
    "kubernetes": ("kind", "namespace", "context", "kubeconfig"),
    "ray": ("address", "placement"),
    "local": (),
}


def add_launcher_arguments(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """Adds the flags that choose a launcher."""
    group = parser.add_argument_group("where", None if default else "as it was submitted from here, where not given")
    group.add_argument("--launcher", choices=sorted(_OPTIONS), default=default, help="local, ray or kubernetes")
    group.add_argument("--kind", help="of Kubernetes object: job (default), jobset, trainjob, tfjob, rayjob")
    group.add_argument("--namespace", "-n", help="of Kubernetes; default: that of the context")
    group.add_argument("--context", help="of the kubeconfig; default: its current one")
    group.add_argument("--kubeconfig", metavar="FILE", help="default: as kubectl finds it")
    group.add_argument(
        "--address",
        help="of Ray: host:6379 or ray://host:10001; default: $RAY_ADDRESS or the one on this machine; "
        "'local' is a fresh one that ends with this command",
    )
    group.add_argument("--placement", help="of Ray: PACK (default), SPREAD, STRICT_PACK, STRICT_SPREAD")


def launcher_options(args: argparse.Namespace, name: str) -> dict[str, str]:
    """Returns the launcher's options that were given on the command line.

    Raises:
        ConfigError: an option of another launcher.
    """
    given = {key: getattr(args, key) for keys in _OPTIONS.values() for key in keys if getattr(args, key) is not None}
    foreign = sorted(set(given) - set(_OPTIONS[name]))
    if foreign:
        raise ConfigError(f"--{foreign[0]} is not an option of launcher {name!r}")
    return given


def chosen_launcher(args: argparse.Namespace, job: str | None = None) -> Launcher:
    """Returns the launcher of a job: as on the command line, else as it was submitted."""
    if args.launcher:
        return launcher(args.launcher, **launcher_options(args, args.launcher))
    if job is None:
        return launcher("local", **launcher_options(args, "local"))
    name, options = recall(job)
    return launcher(name, **{**options, **launcher_options(args, name)})


def show(statuses: Iterable[JobStatus], *, as_json: bool) -> None:
    """Prints states, one a job with its members below, or a JSON list."""
    found = list(statuses)
    if as_json:
        print(json.dumps([status.to_dict() for status in found], indent=2))
        return
    for status in found:
        print(f"{status.name}  {status.state.value}  {status.launcher}  submitted {status.submitted}")
        if status.message:
            print(f"  {status.message}")
        for task in status.tasks:
            restarts = f"  restarted {task.restarts} times" if task.restarts else ""
            where = f"  {task.where}" if task.where else ""
            print(f"  {task.role}-{task.index}  {task.state.value}{where}{restarts}")


def follow(place: Launcher, job: str, query: LogQuery = _TO_THE_END) -> int:
    """Prints a job's lines until it has finished and returns the exit code: 0 where it succeeded.

    Ctrl-C leaves the job running and says how to cancel it.
    """
    try:
        for line in place.lines(job, query):
            print(line, flush=True)
        status = place.wait(job)
    except KeyboardInterrupt:
        print(
            f"\n{job} goes on; follow it with `fullpass logs -f {job}`, stop it with `fullpass cancel {job}`",
            file=sys.stderr,
            flush=True,
        )
        return INTERRUPTED
    return finish(status)


def finish(status: JobStatus) -> int:
    """Prints how a job ended and returns the exit code."""
    text = f": {status.message}" if status.message else ""
    print(f"{status.name} {status.state.value}{text}", file=sys.stderr, flush=True)
    return 0 if status.state is JobState.SUCCEEDED else 1
