"""Options of the suite of benchmarks, for `fullpass bench suite` and `python -m benchmarks.harness.suite`."""

from __future__ import annotations

from typing import Any

__all__ = ["SUITE_FLAGS", "add_suite_flags"]

SUITE_FLAGS = ("quick", "full", "case", "list", "record", "fail_if_slower")


def add_suite_flags(parser: Any) -> None:
    """Adds the options to a parser, or to a group of one, all but `--against`."""
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small data, five pairs, without the long cases (default)")
    size.add_argument(
        "--full",
        action="store_true",
        help="each case's own size (read, ingest, feed: 1,000,000 rows), and the long cases",
    )
    parser.add_argument(
        "--case", action="append", default=[], metavar="NAME", help="this case alone; may be given again"
    )
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    parser.add_argument(
        "--record", action="store_true", help="keep the results in benchmarks/results, from which the tables are made"
    )
    parser.add_argument(
        "--fail-if-slower", action="store_true", help="end with code 3 where something is slower beyond the spread"
    )
