"""`fullpass validate`: data held to a schema, and to other data."""

from __future__ import annotations

import argparse

from cluster.cli.data_flags import add_data_flags, open_data

DESCRIPTION = (
    "Holds data to a schema (missing and new columns, types, presence, numbers of values, domains), and to other data (drift from "
    "earlier data, skew from what is asked of the model), by their statistics. Exit code 3 where there are anomalies."
)
EPILOG = """examples:
  fullpass validate data/july --schema stats/schema.pbtxt
  fullpass validate data/july --against data/january --drift carrier=0.01 --drift dep_delay=0.05
  fullpass validate stats/july --against stats/january --drift '*=0.1' --out anomalies     statistics in place of data: no pass
  fullpass validate data/train --schema schema.pbtxt --environment TRAINING --serving recorded/ --skew '*=0.1'

A distance is L-infinity for strings (the largest difference of a value's share) and the Jensen-Shannon divergence of the histograms
for numbers (0: the same, 1: nothing in common). Thresholds may stand in the schema instead, as drift_comparator and skew_comparator.
"""

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="data (files, globs, directories or a manifest), or statistics: a directory of `fullpass stats --out`, or its file",
    )
    parser.add_argument("--schema", default="", metavar="FILE", help="schema.pbtxt or .pb that the data are held to")
    parser.add_argument(
        "--environment", default="", metavar="NAME", help="of the schema: features that are not in it are not expected"
    )
    parser.add_argument("--against", default="", metavar="PATH", help="earlier data or statistics, for --drift")
    parser.add_argument(
        "--drift",
        action="append",
        default=[],
        metavar="FEATURE=DISTANCE",
        help="most distance from --against, '*' for every feature; repeatable (default: the schema's drift_comparator)",
    )
    parser.add_argument(
        "--serving",
        default="",
        metavar="PATH",
        help="examples recorded by `fullpass serve --record`, or statistics of them, for --skew",
    )
    parser.add_argument(
        "--skew",
        action="append",
        default=[],
        metavar="FEATURE=DISTANCE",
        help="most distance from --serving, '*' for every feature; repeatable (default: the schema's skew_comparator)",
    )
    parser.add_argument("--out", metavar="DIR", help="directory of the anomalies (default: written nowhere)")
    add_data_flags(parser)
    parser.add_argument("--json", action="store_true", help="print the anomalies as JSON, as in SchemaDiff.json")


def run(args: argparse.Namespace) -> int:
    """Runs the command; 3 where there are anomalies."""
    from cluster.steps import validate
    from engine import ConfigError
    from engine.core.exit_codes import DONE, NOT_MET
    from transforms.validation.files import as_json, is_statistics

    drift, skew = _distances("--drift", args.drift), _distances("--skew", args.skew)
    for flag, given, needed, other in (
        ("--drift", drift, "--against", args.against),
        ("--skew", skew, "--serving", args.serving),
    ):
        if given and not other:
            raise ConfigError(f"{flag} needs the other data; name them with {needed}")
    if not (args.schema or args.against or args.serving):
        raise ConfigError("nothing to hold the data to; give --schema, --against or --serving")
    config = validate.ValidateConfig(
        schema=args.schema,
        environment=args.environment,
        drift=drift,
        skew=skew,
        serving=args.serving,
        against=args.against,
    )
    alone = args.paths[0] if len(args.paths) == 1 else None
    data = alone if alone is not None and is_statistics(alone) else open_data(args)
    report = validate.run(config, data, args.out)
    if args.json:
        print(as_json(report.anomalies))
    else:
        print(report.text)
        if report.path:
            print(f"written to {report.path}")
    return DONE if report.ok else NOT_MET


def _distances(flag: str, texts: list[str]) -> dict[str, float]:
    from engine import ConfigError

    found = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        try:
            found[name] = float(value)
        except ValueError:
            name = ""
        if not name:
            raise ConfigError(f"{flag} {text}: it must be FEATURE=DISTANCE, e.g. carrier=0.01 or '*=0.1'") from None
    return found
