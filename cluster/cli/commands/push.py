"""`fullpass push`: an evaluated version becomes the one that is served; and back."""

from __future__ import annotations

import argparse

DESCRIPTION = "Copies a blessed model into a serving directory as its next version, or brings an earlier version back."
EPILOG = """examples:
  fullpass push models/7 --to serving --evaluation evaluation.json
  fullpass push --to serving --rollback
  fullpass push --to serving --list
"""

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="SavedModel, or directory of its versions (the newest)"
    )
    parser.add_argument("--to", required=True, metavar="DIR", help="serving directory of numbered versions")
    parser.add_argument("--evaluation", metavar="FILE.json", help="what `fullpass evaluate --out` wrote of this model")
    parser.add_argument("--force", action="store_true", help="push without a blessing; the history says so")
    parser.add_argument("--keep", type=int, metavar="N", help="newest versions that stay, 2 or more (default: all)")
    parser.add_argument(
        "--rollback", nargs="?", const=0, type=int, metavar="N", help="serve version N again (default: the one before)"
    )
    parser.add_argument("--list", action="store_true", help="show what was pushed")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from cluster.steps import push
    from engine import ConfigError
    from trainers.serving.push import current, history, rollback

    if args.list:
        served = current(args.to).name
        for entry in history(args.to):
            mark = "served" if str(entry["version"]) == served else ""
            state = "" if entry.get("blessed", True) else "not blessed"
            cells = (entry["version"], entry["time"], entry["action"], entry["source"], state, mark)
            print("  ".join(str(cell) for cell in cells if cell != ""))
    elif args.rollback is not None:
        print(rollback(args.to, args.rollback or None))
    elif args.model is None:
        raise ConfigError("push needs a MODEL, --rollback or --list")
    else:
        config = push.PushConfig(to=args.to, keep=args.keep)
        print(push.run(config, args.model, evaluation=args.evaluation, force=args.force))
    return 0
