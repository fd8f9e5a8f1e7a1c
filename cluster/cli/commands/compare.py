"""`fullpass compare`: two runs side by side, and whether the second may replace the first."""

from __future__ import annotations

import argparse

DESCRIPTION = (
    "Compares two runs: what changed in data, code and configuration, how far their metrics are apart overall and by segment with "
    "the 95 % interval of the difference, and whether the second may replace the first: it met its thresholds and is nowhere "
    "worse beyond the interval. Exits with 3 where it may not."
)
EPILOG = """examples:
  fullpass compare runs/monday runs/tuesday                          work directories of two pipelines
  fullpass compare work/evaluate/3f2a90b1c44d-1 work                 an earlier evaluation of a pipeline, and its last one
  fullpass compare serving/3/evaluation.json evaluation.json --format md
  fullpass compare runs/monday runs/tuesday --out compared.html      a page with the change of each segment
"""

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    help_ = "work directory of a pipeline, a result of its evaluate step, or an evaluation.json"
    parser.add_argument("before", metavar="RUN", help=f"what is served: {help_}")
    parser.add_argument("after", metavar="RUN", help="what may replace it")
    parser.add_argument(
        "--format", choices=("text", "json", "md"), default="text", help="how it is printed (default: %(default)s)"
    )
    parser.add_argument(
        "--out", metavar="FILE", help="also write it as a page with charts: HTML, or Markdown where FILE ends in .md"
    )
    parser.add_argument(
        "--show", type=int, default=20, metavar="N", help="changes of segments shown (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; 3 where the second run may not replace the first."""
    import dataclasses
    import json

    from cluster.cli.comparison_text import as_markdown, as_text
    from cluster.pipeline.run_facts import differences, read_run
    from engine.core.exit_codes import NOT_MET
    from trainers.evaluation.comparison import compare

    before, after = read_run(args.before), read_run(args.after)
    changed = differences(before, after)
    comparison = compare(before.evaluation, after.evaluation)
    if args.out:
        from cluster.report import write_comparison

        write_comparison(comparison, changed, (args.before, args.after), args.out)
    if args.format == "json":
        found = {
            "before": args.before,
            "after": args.after,
            "changed": [dataclasses.asdict(each) for each in changed],
            **comparison.as_json(),
        }
        print(json.dumps(found, allow_nan=False))
    else:
        show = as_text if args.format == "text" else as_markdown
        print(show(comparison, changed, (args.before, args.after), args.show))
    return 0 if comparison.may_replace else NOT_MET
