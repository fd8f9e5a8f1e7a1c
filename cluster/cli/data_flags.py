"""Flags of every command that reads data: which of the files, and what columns they have."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.dataset.dataset import DataPaths, Dataset

__all__ = ["add_data_flags", "open_data"]


def add_data_flags(parser: Any) -> None:
    """Adds `--feature-spec` and `--filter`."""
    parser.add_argument(
        "--feature-spec",
        metavar="FILE",
        help="columns and their types as a Schema of TensorFlow Metadata, such as schema.pbtxt (default: found out)",
    )
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="read only files in key=value directories that pass, such as 'year>=2024', region=eu or 'day in 1,2'; repeatable, all "
        "must hold (default: every file)",
    )


def open_data(args: argparse.Namespace, paths: DataPaths | None = None, **options: Any) -> Dataset:
    """Returns the data set that a command's arguments name.

    Args:
        args: with the flags of `add_data_flags`.
        paths: None takes the arguments' own.
        **options: further arguments of `Dataset.open`.

    Raises:
        DataError: no file, or files that are not what their manifest says.
        ConfigError: a filter or a feature spec that cannot be.
    """
    from engine.dataset.dataset import Dataset

    given = args.paths if paths is None else paths
    given = given[0] if isinstance(given, list) and len(given) == 1 else given
    return Dataset.open(given, args.feature_spec, filters=args.filter, **options)
