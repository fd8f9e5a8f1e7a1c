"""`fullpass export`: a checkpoint as a versioned SavedModel that answers raw tf.Examples."""

from __future__ import annotations

import argparse

from cluster.cli.data_flags import add_data_flags, open_data

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
    add_data_flags(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="directory of the versions")
    parser.add_argument("--version", type=int, metavar="N", help="number of the version (default: the next)")
    parser.add_argument(
        "--check-rows",
        type=int,
        default=1024,
        metavar="N",
        help="rows of --data whose answers are compared with the checkpoint's",
    )
    parser.add_argument(
        "--sample-rows",
        type=int,
        default=64,
        metavar="N",
        help="rows of --data kept beside the model: warm-up requests, and the golden set that servers compare (0: none)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from cluster.steps import export
    from engine.machine.quiet import import_tensorflow
    from engine.storage.uris import require_local

    require_local("--out", args.out)  # before the data are read
    import_tensorflow("tensorflow_transform")
    made = export.run(
        export.ExportConfig(build_model=args.build_model, check_rows=args.check_rows, sample_rows=args.sample_rows),
        args.checkpoint,
        args.module,
        args.out,
        graph=args.graph,
        data=None if args.data is None else open_data(args, args.data),
        version=args.version,
    )
    print(made.version)
    if made.difference is not None:
        print(
            f"checked on {made.checked_rows:,} raw rows: at most {made.difference:.1g} away from the checkpoint's answers"
        )
    return 0
