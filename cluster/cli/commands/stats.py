"""`fullpass stats`: what a data set holds, feature by feature."""

from __future__ import annotations

import argparse

from cluster.cli.data_flags import add_data_flags, open_data
from cluster.cli.pass_flags import add_pass_flags, add_statistics_flags

DESCRIPTION = (
    "Takes statistics of every feature in one pass: counts, missing values, moments, quantiles, histograms, most frequent values, of "
    "all records and of slices. Writes them as TensorFlow Metadata's messages, which TFDV and TFX read, with an inferred schema."
)
EPILOG = """examples:
  fullpass stats data/train                                        a table; nothing is written
  fullpass stats data/train --out stats --slice carrier            FeatureStats.pb, .pbtxt, .json and schema.pbtxt in stats/
  fullpass stats data/train --out stats --slice carrier,origin --weight fare
  fullpass stats 's3://bucket/day=*' --out s3://bucket/stats --runner flink --runner-option=--flink_master=host:8081

Then hold other data to the schema, or compare them: `fullpass validate --help`.
"""

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files, globs, directories or a manifest")
    parser.add_argument(
        "--out", metavar="DIR", help="directory of the statistics, local or a URI (default: written nowhere)"
    )
    add_statistics_flags(parser)
    parser.add_argument(
        "--feature", action="append", default=[], metavar="NAME", help="only these columns; repeatable (default: all)"
    )
    parser.add_argument(
        "--schema",
        default="",
        metavar="FILE",
        help="schema.pbtxt that says which integers are categories and which bytes are no text",
    )
    add_pass_flags(parser, batch_rows=131072)
    parser.add_argument(
        "--show", type=int, default=40, metavar="N", help="features printed of each kind (default: %(default)s)"
    )
    add_data_flags(parser)
    parser.add_argument("--json", action="store_true", help="print the statistics as JSON, as in FeatureStats.json")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from cluster.steps import stats
    from transforms.profiling.table import shares_lines, statistics_table
    from transforms.validation.files import as_json

    config = stats.StatsConfig(
        slices=tuple(tuple(part.split(",")) for part in args.slice),
        features=args.feature,
        weight=args.weight,
        labels=args.label,
        schema=args.schema,
        runner=args.runner,
        runner_options=args.runner_option,
        batch_rows=args.batch_rows,
        memory=args.memory,
        show=args.show,
    )
    report = stats.run(config, open_data(args), args.out)
    if args.json:
        print(as_json(report.statistics))
        return 0
    datasets = report.statistics.datasets
    print(statistics_table(datasets[0], show=config.show))
    if len(datasets) > 1:
        print(
            f"\n{len(datasets) - 1:,} slices: "
            + ", ".join(f"{d.name} {d.num_examples:,}" for d in datasets[1 : config.show + 1])
        )
    for line in shares_lines(report.label_shares):
        print(line)
    where = f": {report.path}" if report.path else ""
    print(f"\n{report.records:,} records, {len(datasets[0].features):,} features, {report.seconds:.1f} s{where}")
    return 0
