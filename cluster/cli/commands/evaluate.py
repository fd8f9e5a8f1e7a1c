"""`fullpass evaluate`: an exported model on a data set, overall and by segment."""

from __future__ import annotations

import argparse

from cluster.cli.data_flags import add_data_flags, open_data
from cluster.cli.pass_flags import add_runner_flags

DESCRIPTION = (
    "Measures an exported model on raw data: all rows and segments of them, against thresholds and another model. "
    "Exits with 3 where a threshold is not met."
)
EPILOG = """examples:
  fullpass evaluate data/eval --model models --label late --slice carrier --slice carrier,origin
  fullpass evaluate data/eval --model models/7 --label late --threshold auc=0.92 --threshold log_loss=0.3 --out evaluation.json
  fullpass evaluate data/eval --model models --label late --slice distance --buckets distance=4 --metric auc --metric fairness
  fullpass evaluate data/eval --model models --label score=relevance --query session --metric ndcg_at_10 --task regression
  fullpass evaluate data/eval --model models/8 --baseline serving --label late --thresholds thresholds.toml

A thresholds file has one table or number for each metric:
  log_loss = 0.3
  [auc]
  min = 0.92
  min_change = -0.005            # against the baseline
  slices = [["carrier"]]         # each carrier is held to min, too
  min_rows = 200                 # smaller segments are not judged
  confident = true               # min holds for the whole 95 % interval
  max_gap = 0.1                  # between the best and the worst carrier
"""

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="raw data: files, globs, directories or a manifest")
    parser.add_argument(
        "--model", required=True, metavar="DIR", help="SavedModel, or directory of its versions (the newest)"
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME",
        help="transformed feature or column that is the label; OUTPUT=NAME for each of several outputs, repeatable",
    )
    parser.add_argument(
        "--slice",
        action="append",
        default=[],
        metavar="KEY[,KEY]",
        help="columns whose values make segments; repeatable",
    )
    parser.add_argument(
        "--buckets",
        action="append",
        default=[],
        metavar="KEY=N|EDGE,EDGE",
        help="numeric column of a slice in N buckets of equally many rows, or between edges; repeatable",
    )
    parser.add_argument(
        "--max-segments",
        type=int,
        default=1000,
        metavar="N",
        help="segments of a kind reported by themselves; smaller ones become one (default: %(default)s)",
    )
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME",
        help="auc, pr_auc, log_loss, accuracy, recall@0.3, fairness, ndcg_at_10, ... or a TFMA class; repeatable",
    )
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="METRIC=VALUE",
        help="bound that the model must meet; repeatable",
    )
    parser.add_argument("--thresholds", metavar="FILE.toml", help="bounds as a file, see below")
    parser.add_argument("--baseline", default="", metavar="DIR", help="another model on the same rows")
    parser.add_argument("--weight", default="", metavar="NAME", help="column with the weight of each row")
    parser.add_argument("--query", default="", metavar="NAME", help="column whose equal values make one ranking")
    parser.add_argument("--output", default="", metavar="NAME", help="the model's output that holds the predictions")
    parser.add_argument(
        "--task",
        default="",
        metavar="NAME",
        help="binary, multiclass, multilabel or regression (default: as the first rows are)",
    )
    parser.add_argument(
        "--label-vocabulary",
        default="",
        metavar="FILE",
        help="names of the classes, in the model's assets, for labels that are text (default: the only file that fits)",
    )
    parser.add_argument(
        "--intervals",
        choices=("jackknife", "bootstrap", "none"),
        default="jackknife",
        help="how 95 %% intervals are estimated (default: %(default)s)",
    )
    add_data_flags(parser)
    parser.add_argument(
        "--eval-config",
        default="",
        metavar="FILE",
        help="TFMA's EvalConfig as proto text: its label, slices, metrics and thresholds are added",
    )
    parser.add_argument("--tfma", action="store_true", help="write TFMA's own files too, beside --out")
    add_runner_flags(parser)
    parser.add_argument("--out", metavar="FILE.json", help="write the result here, and a Markdown file beside it")
    parser.add_argument(
        "--show", type=int, default=20, metavar="N", help="segments shown of each kind (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the command; 3 where thresholds were given and not met."""
    import json

    from cluster.steps import evaluate
    from engine.core.exit_codes import NOT_MET
    from engine.machine.quiet import import_tensorflow

    import_tensorflow()
    config = evaluate.EvaluateConfig(
        slices=tuple(tuple(part.split(",")) for part in args.slice),
        buckets=_buckets(args.buckets),
        max_segments=args.max_segments,
        labels=_labels(args.label),
        metrics=args.metric,
        thresholds=_thresholds(args),
        baseline=args.baseline,
        weight=args.weight,
        query=args.query,
        output=args.output,
        task=args.task,
        label_vocabulary=args.label_vocabulary,
        eval_config=args.eval_config,
        tfma=args.tfma,
        runner=args.runner,
        runner_options=args.runner_option,
        show=args.show,
        intervals=args.intervals,
    )
    data = open_data(args)
    result = evaluate.run(config, args.model, data, args.label[0] if args.label else "", out=args.out)
    print(json.dumps(result.as_json(), allow_nan=False) if args.json else result.table(show=args.show))
    return NOT_MET if result.failures else 0


def _labels(given: list[str]) -> dict[str, str]:
    """Output to label where several are given; {} for one label of the only output."""
    from engine import ConfigError

    if len(given) < 2 and "=" not in "".join(given):
        return {}
    found = dict(text.partition("=")[::2] for text in given)
    if len(found) < len(given) or not all(found.values()):
        raise ConfigError(f"--label {' --label '.join(given)}: several labels must be OUTPUT=NAME, each output once")
    return found


def _buckets(given: list[str]) -> dict[str, object]:
    from engine import ConfigError

    found: dict[str, object] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            parts = value.split(",")
            found[name] = int(value) if len(parts) == 1 and "." not in value else [float(part) for part in parts]
        except ValueError:
            raise ConfigError(
                f"--buckets {text}: it must be KEY=NUMBER or KEY=EDGE,EDGE, e.g. distance=0,500,1000"
            ) from None
    return found


def _thresholds(args: argparse.Namespace) -> dict[str, object]:
    from engine import ConfigError
    from engine.core.toml import TOMLDecodeError, loads

    found: dict[str, object] = {}
    if args.thresholds:
        try:
            with open(args.thresholds, encoding="utf-8") as file:
                found = loads(file.read())
        except TOMLDecodeError as error:
            raise ConfigError(f"--thresholds {args.thresholds}: not TOML: {error}") from None
    for text in args.threshold:
        name, _, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise ConfigError(f"--threshold {text}: it must be METRIC=NUMBER, e.g. auc=0.92") from None
    return found
