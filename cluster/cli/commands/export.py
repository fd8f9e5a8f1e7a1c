"""`fullpass export`: a checkpoint as a versioned SavedModel that answers raw tf.Examples."""

from __future__ import annotations

import argparse

DESCRIPTION = "Writes the next version of a SavedModel: raw serialized tf.Examples in, the transform graph inside, a model card beside it."
EPILOG = """examples:
  fullpass export runs/flights/checkpoints --module flights.py --graph graph --data data/train --out models
  fullpass export runs/flights --module flights.py --graph graph --data data/train --check-rows 10000 --out models
"""

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="training directory (its best checkpoint with early stopping, else its last) or a checkpoint",
    )
    parser.add_argument("--module", required=True, metavar="FILE.py", help="Python file with build_model(context)")
    parser.add_argument(
        "--build-model", default="build_model", metavar="NAME", help="its function (default: %(default)s)"
    )
    parser.add_argument(
        "--graph", metavar="DIR", help="transform graph of the training; none: the model takes raw features"
    )
    parser.add_argument(
        "--data", metavar="PATH", help="raw data: says which raw features there are, with their defaults"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="directory of the versions")
    parser.add_argument("--version", type=int, metavar="N", help="number of the version (default: the next)")
    parser.add_argument(
        "--check-rows",
        type=int,
        default=1024,
        metavar="N",
        help="rows of --data whose answers are compared with the checkpoint's",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from cluster.cli.quiet import import_tensorflow
    from cluster.user_code.module import user_function
    from engine import ConfigError, Dataset
    from engine.storage.paths import require_local
    from trainers.export.from_checkpoint import check_export, export_checkpoint, rebuild_model

    require_local("--out", args.out)  # before the data are read
    import_tensorflow("tensorflow_transform")
    if args.graph is None and args.data is None:
        raise ConfigError("without --graph, --data is needed: it says which features a raw example has")
    raw = None if args.data is None else Dataset.open(args.data)
    build_model = user_function(args.module, args.build_model)
    version = export_checkpoint(
        args.checkpoint,
        build_model,
        args.out,
        transform_graph=args.graph,
        raw_feature_spec=None if raw is None else raw.feature_spec(),
        version=args.version,
    )
    print(version)
    if raw is not None and args.graph is not None and args.check_rows > 0:
        model, context = rebuild_model(args.checkpoint, build_model, args.graph)
        rows = min(args.check_rows, raw.num_records)
        worst = check_export(version, model, raw, args.graph, rows=rows, pad=context.pad)
        print(f"checked on {rows:,} raw rows: at most {worst:.1g} away from the checkpoint's answers")
    return 0
