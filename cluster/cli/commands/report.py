"""`fullpass report`: one page about a run, or several side by side."""

from __future__ import annotations

import argparse

DESCRIPTION = (
    "Writes one self-contained page about a run: verdict, metrics by segment with intervals, calibration, ROC, confusion, fairness, "
    "training curves, data and drift, transform, time, settings and lineage. Several runs stand side by side. It needs no network, "
    "can be mailed, printed and read on a phone. `fullpass run` writes it at its end: WORK_DIR/report.html."
)
EPILOG = """examples:
  fullpass report runs/clicks --out clicks.html
  fullpass report runs/clicks runs/clicks-wide --out both.html     side by side, with what differs
  fullpass report runs/clicks --out clicks.md                      Markdown, for a pull request
  fullpass report runs/clicks/evaluate/a13184b64754-1              an earlier result, and what it was made from

A page needs `pip install 'fullpass[report]'`. What a run does not have (statistics, segments, curves) is left out, and the page says
how to get it.
"""

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="working directory of a pipeline, or the directory of one step's result in it",
    )
    parser.add_argument("--out", default="report.html", metavar="FILE", help="the page (default: report.html)")
    parser.add_argument(
        "--format",
        choices=("html", "md"),
        default=None,
        help="HTML, or Markdown without charts (default: by the file's name)",
    )
    parser.add_argument(
        "--track",
        metavar="TARGET",
        action="append",
        default=[],
        help="also record the runs: mlflow:URI or mlmd:FILE (ML Metadata); repeatable",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from cluster.report import write_report
    from cluster.tracking import check_target, track

    for target in args.track:
        check_target(target)
    path = write_report(args.runs, args.out, args.format)
    for target in args.track:
        for work_dir in args.runs:
            print(f"track      {track(work_dir, target, files=[path])}")
    print(f"report     {path.resolve().as_uri()}")
    return 0
