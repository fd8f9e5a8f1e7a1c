"""Flags of every command that passes over data: where the pass runs, and what it may hold."""

from __future__ import annotations

from typing import Any

__all__ = ["add_pass_flags", "add_runner_flags", "add_statistics_flags"]


def add_runner_flags(parser: Any) -> None:
    """Adds `--runner` and `--runner-option`."""
    parser.add_argument("--runner", default="local", help="local, flink, spark or a Beam runner (default: %(default)s)")
    parser.add_argument(
        "--runner-option", action="append", default=[], metavar="--KEY=VALUE", help="option of the runner; repeatable"
    )


def add_pass_flags(parser: Any, batch_rows: int) -> None:
    """Adds the flags of a runner, `--batch-rows` and `--memory`.

    Args:
        parser: to add them to.
        batch_rows: default of `--batch-rows`.
    """
    add_runner_flags(parser)
    parser.add_argument(
        "--batch-rows", type=int, default=batch_rows, metavar="N", help="most records a batch (default: %(default)s)"
    )
    parser.add_argument(
        "--memory",
        default="2Gi",
        metavar="SIZE",
        help="what a worker may hold; batches are cut to it (default: %(default)s)",
    )


def add_statistics_flags(parser: Any) -> None:
    """Adds `--slice`, `--weight` and `--label`: what is asked for of statistics."""
    parser.add_argument(
        "--slice",
        action="append",
        default=[],
        metavar="KEY[,KEY]",
        help="columns whose values make slices of the statistics; repeatable",
    )
    parser.add_argument("--weight", default="", metavar="NAME", help="column that weighs the records of the statistics")
    parser.add_argument(
        "--label", action="append", default=[], metavar="NAME", help="column whose values' shares are told; repeatable"
    )
