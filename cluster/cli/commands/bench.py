"""`fullpass bench`: how fast your own data is read, beside the way it is read today."""

from __future__ import annotations

import argparse

from cluster.benchmarking.suite_flags import SUITE_FLAGS, add_suite_flags
from cluster.cli.data_flags import add_data_flags, open_data

DESCRIPTION = (
    "Measures records a second on your data: our readers and TensorFlow's or pyarrow's, in turn, on the same files."
)

EPILOG = """\
examples:
  fullpass bench 'data/train/*.tfrecord.gz'
  fullpass bench data/train --rounds 9 --records 1000000
  fullpass bench data/train --against tfrecord            the training feed beside tf.data over TFRecord files of the same records
  fullpass bench data/train --module features.py --against tfrecord            the same, of transformed rows
  fullpass bench data/train --module features.py --against tft --records 20000 --rounds 3
  fullpass bench suite --quick                            the project's own benchmarks, from a checkout of its repository
  fullpass bench suite --case read --against last --fail-if-slower

The ratio is the median over the interleaved pairs, with the least and the greatest. Below the figures is what each row
measures. The speed claims of the README are measured by `make bench`.

  fullpass bench report results/ --out bench.html    one page about results in pytest-benchmark's JSON format
"""

__all__ = ["add_arguments", "run"]

_ROUNDS, _RECORDS = 5, 1_000_000
_OF_DATA = ("rounds", "records", "module", "feature_spec", "filter", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="TFRecord or Parquet files, globs, directories; or `suite`, or `report RESULTS ...`",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="interleaved pairs (default 5)")
    parser.add_argument(
        "--records",
        type=int,
        metavar="N",
        help="files with about so many records (default 1,000,000)",
    )
    parser.add_argument(
        "--module",
        metavar="FILE.py",
        help="its preprocessing_fn: --against tft analyzes with it both ways, --against tfrecord feeds the rows that it makes",
    )
    parser.add_argument(
        "--against",
        metavar="tfrecord|tft|FILE|last",
        help="tfrecord: feed beside tf.data; tft: with --module, analyze beside TensorFlow Transform; of `suite`: compare with JSON of "
        "pytest-benchmark, or with the kept results (last)",
    )
    add_data_flags(parser)
    add_suite_flags(parser.add_argument_group("of `suite`"))
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--out", metavar="FILE", help="of `report`: the page (default bench.html)")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    # A directory of data that has one of these names is given as ./report, ./suite.
    if args.paths[0] == "report":
        return _report(args)
    _refuse(args, ("out",), "`fullpass bench report`")
    if args.paths[0] == "suite":
        return _suite(args)
    _refuse(args, SUITE_FLAGS, "`fullpass bench suite`")
    _check_against(args)
    args.rounds = _ROUNDS if args.rounds is None else args.rounds
    args.records = _RECORDS if args.records is None else args.records
    import dataclasses
    import json

    from cluster.benchmarking.reading import explain, measure
    from engine.machine.processes import processors
    from engine.machine.quiet import import_tensorflow

    dataset = open_data(args)
    if args.against:
        from cluster.benchmarking.feeding import measure_feed
        from cluster.benchmarking.passes import measure_passes
        from cluster.user_code.module import user_function

        import_tensorflow(*(["tensorflow_transform"] if args.module else []))
        function = user_function(args.module, "preprocessing_fn") if args.module else None
        if args.against == "tft" and function is not None:
            pairs = [measure_passes(dataset, function, args.rounds, args.records)]
        else:
            pairs = [measure_feed(dataset, function, args.rounds, args.records)]
    else:
        if dataset.format == "tfrecord":
            import_tensorflow()
        pairs = measure(dataset, args.rounds, args.records)
    if args.json:
        print(json.dumps([dataclasses.asdict(pair) for pair in pairs], indent=1))
        return 0
    print(f"{pairs[0].records:,} records of {dataset}, {args.rounds} pairs, {processors()} cores")
    for pair in pairs:
        print(pair)
    for line in [] if args.against else explain(dataset):
        print(line)
    return 0


def _check_against(args: argparse.Namespace) -> None:
    from engine import ConfigError

    if args.against not in (None, "tfrecord", "tft"):
        raise ConfigError(
            f"--against {args.against}: beside your own data it takes tfrecord or tft; FILE and last are of `fullpass bench suite`"
        )
    if args.against == "tft" and not args.module:
        raise ConfigError("--against tft needs --module FILE.py, whose preprocessing_fn says what is analyzed")
    if args.module and not args.against:
        raise ConfigError(
            "--module FILE.py needs --against: tft analyzes with its preprocessing_fn both ways, tfrecord feeds the rows that it makes"
        )


def _refuse(args: argparse.Namespace, names: tuple[str, ...], of: str) -> None:
    from engine import ConfigError

    given = [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) not in (None, False, [])]
    if given:
        raise ConfigError(f"{', '.join(given)}: of {of} only")


def _report(args: argparse.Namespace) -> int:
    from cluster.report import write_bench_report
    from engine import ConfigError

    _refuse(args, SUITE_FLAGS, "`fullpass bench suite`")
    _refuse(args, _OF_DATA, "`fullpass bench PATH`")
    _refuse(args, ("against",), "`fullpass bench PATH` and `fullpass bench suite`")
    if len(args.paths) == 1:
        raise ConfigError(
            "report: of which results? `fullpass bench report FILE.json|DIRECTORY ...`; `pytest --benchmark-json` writes them"
        )
    print(f"report     {write_bench_report(args.paths[1:], args.out or 'bench.html').resolve().as_uri()}")
    return 0


def _suite(args: argparse.Namespace) -> int:
    """Runs the benchmarks of the repository: they are no part of the package."""
    import importlib
    import importlib.util
    import sys
    from pathlib import Path

    from engine import ConfigError

    _refuse(args, _OF_DATA, "`fullpass bench PATH`")
    if len(args.paths) > 1:
        raise ConfigError(
            f"suite {' '.join(args.paths[1:])}: the suite brings its own data; --case NAME says which benchmarks"
        )
    sys.path.insert(0, str(Path.cwd()))
    if importlib.util.find_spec("benchmarks") is None or importlib.util.find_spec("benchmarks.harness") is None:
        raise ConfigError(
            "the suite is a part of the repository, not of the package: run `fullpass bench suite` in a checkout of it, "
            "with `make env`; `fullpass bench PATH` measures your own data"
        )
    run_suite = importlib.import_module("benchmarks.harness.suite").run
    return int(run_suite(args))
