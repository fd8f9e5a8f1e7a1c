"""`fullpass analyze`: full passes over the data, and the transform graph that comes of them."""

from __future__ import annotations

import argparse
from typing import Any

from cluster.cli.data_flags import add_data_flags, open_data
from cluster.cli.pass_flags import add_pass_flags, add_statistics_flags

DESCRIPTION = (
    "Runs the analyzers of a TensorFlow Transform preprocessing_fn over all records and writes the transform graph, which "
    "tft.TFTransformOutput reads."
)
EPILOG = """examples:
  fullpass analyze data/train/*.tfrecord.gz --module features.py --out graph
  fullpass analyze 'data/day=*' --module features.py --out graph --spans spans/     reads the days that are new
  fullpass analyze data/train --module features.py --out graph --stats stats --label label    statistics of the same pass
  fullpass analyze data/train --module features.py --out graph --runner flink --runner-option=--flink_master=host:8081
"""

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files, globs, directories or a manifest")
    parser.add_argument("--module", required=True, metavar="FILE.py", help="Python file with preprocessing_fn(inputs)")
    parser.add_argument(
        "--preprocessing-fn", default="preprocessing_fn", metavar="NAME", help="its function (default: %(default)s)"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="directory of the transform graph")
    add_pass_flags(parser, batch_rows=131072)
    parser.add_argument(
        "--spans",
        metavar="DIR",
        help="keep in DIR what each span of the data contributed (a directory each, or a file each where all lie in one), and read "
        "only spans that are new or changed",
    )
    parser.add_argument(
        "--stats",
        metavar="DIR",
        help="take statistics of all columns in the first pass, of the same records, and write them to DIR, as `fullpass stats` does",
    )
    add_statistics_flags(parser)
    parser.add_argument(
        "--custom-config", metavar="JSON", help="object that preprocessing_fn(inputs, custom_config) gets, as in TFX"
    )
    add_data_flags(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    import dataclasses
    import json

    from cluster.steps import analyze
    from engine.machine.quiet import import_tensorflow
    from transforms.profiling.table import shares_lines

    import_tensorflow("tensorflow_transform")
    config = analyze.AnalyzeConfig(
        preprocessing_fn=args.preprocessing_fn,
        runner=args.runner,
        runner_options=args.runner_option,
        custom_config=_custom_config(args.custom_config) or {},
        spans=args.spans,
        stats=args.stats,
        slices=tuple(tuple(part.split(",")) for part in args.slice),
        weight=args.weight,
        labels=args.label,
        batch_rows=args.batch_rows,
        memory=args.memory,
    )
    data = open_data(args)
    report = analyze.run(config, data, args.module, args.out)
    if args.json:
        print(json.dumps(dataclasses.asdict(report)))
        return 0
    print(
        f"{report.records:,} records, {report.analyzers} analyzers, {report.phases} passes, {report.seconds:.1f} s: {report.path}"
    )
    if report.records_read is not None:
        print(f"{report.records_read:,} records were read, the others' part was in {args.spans}")
    if report.stats is not None:
        print(f"statistics of the same records: {report.stats}")
    for line in shares_lines(report.label_shares):
        print(line)
    if report.fallback:
        print(f"TensorFlow Transform's own implementation ran: {report.fallback}")
    return 0


def _custom_config(text: str | None) -> dict[str, Any] | None:
    from engine import ConfigError
    from engine.core.json_text import parse_json

    if text is None:
        return None
    try:
        value = parse_json(text, unique=True)
    except ValueError as error:
        raise ConfigError(f"--custom-config: {text!r} is not JSON ({error}); e.g. '{{\"buckets\": 10}}'") from None
    if not isinstance(value, dict):
        raise ConfigError(f"--custom-config: {text!r} is not a JSON object; e.g. '{{\"buckets\": 10}}'")
    return value
