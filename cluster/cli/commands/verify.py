"""`fullpass verify`: every byte read, every checksum and count checked, all damage reported."""

from __future__ import annotations

import argparse
from typing import Any

from cluster.cli.data_flags import add_data_flags, open_data

DESCRIPTION = (
    "Reads every record, checks every checksum, count and block hash against the manifest where there is one, and reports "
    "every damaged record, not only the first. Exit code 3 when there is damage."
)
EPILOG = """examples:
  fullpass verify data/train
  fullpass verify 'data/*.tfrecord.gz' --json
"""

__all__ = ["add_arguments", "run"]

_SHOWN = 5  # files that are named each


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files, globs, directories or a manifest")
    add_data_flags(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    import dataclasses
    import json

    from engine.core.exit_codes import NOT_MET

    report = open_data(args, check_present=False).verify()
    if args.json:
        print(json.dumps({**dataclasses.asdict(report), "ok": report.ok}))
        return 0 if report.ok else NOT_MET
    for damage in report.damages:
        print(damage)
    print(
        f"{report.num_files:,} files, {report.num_records:,} whole records, {len(report.damages):,} damages; {_against(report)}"
    )
    for said in report.unchecked[:_SHOWN]:
        print(f"not checked: {said}")
    if len(report.unchecked) > _SHOWN:
        print(f"not checked: the same of {len(report.unchecked) - _SHOWN:,} more files (--json names all)")
    return 0 if report.ok else NOT_MET


def _against(report: Any) -> str:
    """What the files were held against, and what was not looked at."""
    if report.unlisted:
        said = (
            f"checked against the manifest, which does not list {len(report.unlisted)} of them ({report.unlisted[0]})"
        )
    elif report.against_manifest:
        said = "checked against the manifest"
    else:
        said = "no manifest, so records missing whole cannot be detected"
    if report.left_out:
        said += f"; {len(report.left_out)} more files that it lists were not named, and so not checked ({report.left_out[0]})"
    return said
