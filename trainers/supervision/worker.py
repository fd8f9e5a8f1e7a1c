"""`python -m trainers.supervision.worker [options] -- TARGET [ARGS...]`: one supervised worker, driven by TF_CONFIG.

TARGET is `script.py`, `-m module` or `module:function`. Every task of the cluster runs the same command. The supervisors
meet at FULLPASS_RENDEZVOUS (default: the host of rank 0 and its TF port + 1), which rank 0's supervisor serves to those
who know the secret in the file that FULLPASS_GROUP_SECRET_FILE names, the same for all of them.
Exit codes: 0 the group is done, 143 stopped after a save, 2 wrong input, 4 an error in the program, 1 given up (`engine.core.exit_codes`).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.core import exit_codes
from engine.core.configs import refusal
from engine.core.environment import GROUP_SECRET_FILE, RENDEZVOUS, RUN_ID
from engine.core.errors import ConfigError, FullpassError
from engine.core.own_packages import check_beside, check_path
from engine.machine.processes import working_directory
from trainers.rendezvous.group_secret import group_secret, new_secret
from trainers.rendezvous.group_state import GroupPolicy
from trainers.supervision.supervisor import SupervisorConfig, supervise
from trainers.supervision.tf_config import Task, host_and_port, task_from_env

__all__ = ["main", "rendezvous_address", "secret_of"]


def rendezvous_address(task: Task, environ: Mapping[str, str]) -> tuple[str, int]:
    """Returns (host, port) of the rendezvous: the environment's, else rank 0's host and its TF port + 1.

    Raises:
        ConfigError: not "host:port".
    """
    given = RENDEZVOUS.read(environ)
    if not given:
        if not task.addresses:
            return "127.0.0.1", 0
        host, _, port = task.addresses[0].rpartition(":")
        return host, int(port) + 1
    found = host_and_port(given)
    if found is None:
        raise refusal(RENDEZVOUS.name, given, "host:port")
    return found


def secret_of(task: Task, environ: Mapping[str, str]) -> bytes:
    """Returns the group's secret; a group of one needs none from outside.

    Raises:
        ConfigError: several tasks and no secret, or one that cannot be used.
    """
    secret = group_secret(environ)
    if secret is None and task.num_tasks > 1:
        raise ConfigError(
            f"{GROUP_SECRET_FILE.name} is not set: the {task.num_tasks} supervisors of this group need a secret that they share, "
            "or anybody could join. Write one (umask 077; openssl rand -hex 16 > FILE), give every task the file, and set "
            "the variable to its path; `fullpass train --workers` and `fullpass submit` do so themselves"
        )
    return new_secret().encode() if secret is None else secret


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one worker and returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    split = words.index("--") if "--" in words else len(words)
    default = GroupPolicy()
    parser = argparse.ArgumentParser(prog="python -m trainers.supervision.worker", description=__doc__.splitlines()[0])
    parser.add_argument("--log", help="file for the output of the training process")
    parser.add_argument("--max-restarts", type=int, default=default.max_restarts)
    parser.add_argument("--max-failures-in-a-row", type=int, default=default.max_failures_in_a_row)
    parser.add_argument("--silent-after", type=float, default=default.silent_after_s, metavar="SECONDS")
    parser.add_argument("--rejoin-timeout", type=float, default=default.rejoin_timeout_s, metavar="SECONDS")
    parser.add_argument("--grace", type=float, default=25.0, metavar="SECONDS", help="to save in after SIGTERM")
    parser.add_argument("--while-stdin", action="store_true", help="save and stop when standard input is closed")
    args = parser.parse_args(words[:split])
    target = words[split + 1 :]
    try:
        check_path()
        if (here := working_directory()) is not None:
            check_beside(Path(here))  # it comes first where the target runs
        if not target:
            raise ConfigError(
                "no target: python -m trainers.supervision.worker [options] -- script.py|-m module|module:function ..."
            )
        task = task_from_env()
        address = rendezvous_address(task, os.environ)
        if address[1] == 0:
            from engine.machine.ports import free_ports

            address = (address[0], free_ports(1)[0])
        config = SupervisorConfig(
            target=target,
            task=task,
            rendezvous=address,
            secret=secret_of(task, os.environ),
            run_id=RUN_ID.read(),
            log=args.log,
            grace_s=args.grace,
            while_stdin=args.while_stdin,
            policy=GroupPolicy(
                max_restarts=args.max_restarts,
                max_failures_in_a_row=args.max_failures_in_a_row,
                silent_after_s=args.silent_after,
                rejoin_timeout_s=args.rejoin_timeout,
            ),
        )
    except FullpassError as error:
        print(f"trainers.supervision.worker: error: {error}", file=sys.stderr)
        return exit_codes.WRONG_INPUT
    # The training process serves TensorFlow's ports, which know no secrets: it need not know where this one is.
    os.environ.pop(GROUP_SECRET_FILE.name, None)
    try:
        return supervise(config)
    except FullpassError as error:
        print(f"trainers.supervision.worker: error: {error}", file=sys.stderr)
        return exit_codes.WRONG_INPUT
    except OSError as error:
        host, port = config.rendezvous
        print(f"trainers.supervision.worker: error: {error} (rendezvous {host}:{port})", file=sys.stderr)
        return exit_codes.FAILED


if __name__ == "__main__":
    sys.exit(main())
