"""`fullpass tune`: a search for settings with Ray Tune over the same trainer."""

from __future__ import annotations

import argparse
import json
from typing import Any

from cluster.cli.commands.train import add_training_arguments, job_of

DESCRIPTION = (
    "Trains the model of build_model(context) many times with settings that are drawn, on this machine or a Ray cluster, and ends "
    "those that are behind. `fullpass export OUT` takes the best. The same command in the same --out goes on with a search that "
    "was interrupted."
)
EPILOG = """examples:
  fullpass tune data/train --eval data/eval --module model.py --label late --out runs/search --epochs 3 --trials 20 \\
      --search 'hyperparameters.rate={"loguniform": [1e-4, 1e-1]}' --search 'global_batch_size={"choice": [256, 1024]}'
  fullpass tune data/train --eval data/eval --module model.py --label late --out runs/search --epochs 3 \\
      --space space.toml --sampler optuna --metric auc --mode max
  fullpass export runs/search --module model.py --data data/raw --out models

A setting is any that --set takes, or hyperparameters.NAME, which build_model finds in context.hyperparameters. Draws: choice, grid,
uniform, loguniform, randint, lograndint. A space file has the same as TOML, see docs/tuning.md.
"""

__all__ = ["add_arguments", "run"]

_FLAGS = ("trials", "metric", "mode", "sampler", "scheduler", "grace_evaluations", "reduction", "cpus", "gpus", "concurrent",
          "restarts", "seed", "address")  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_training_arguments(parser)
    parser.add_argument(
        "--search", action="append", default=[], metavar="SETTING=JSON", help="a setting and its draw; repeatable"
    )
    parser.add_argument(
        "--space", metavar="FILE.toml", help="file with a table [search], and any option below by its name"
    )

    def option(name: str, kind: Any, metavar: str, text: str) -> None:
        # What is not said here may be said in the file.
        parser.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS, metavar=metavar, help=text)

    option("trials", int, "N", "trainings in all (default: 10)")
    option("metric", str, "NAME", "evaluation metric that is compared (default: loss)")
    option("mode", str, "MODE", "min or max, whichever is better (default: min)")
    option("sampler", str, "NAME", "random or optuna (default: random)")
    option("scheduler", str, "NAME", "asha ends trials that are behind, none ends none (default: asha)")
    option("grace-evaluations", int, "N", "evaluations before a trial may be ended (default: 1)")
    option("reduction", int, "N", "one of so many trials goes on from each rung (default: 3)")
    option("cpus", float, "N", "processors of one trial (default: 1)")
    option("gpus", float, "N", "GPUs of one trial (default: 0)")
    option("concurrent", int, "N", "trials at once at most (default: as many as fit)")
    option("restarts", int, "N", "how often a trial whose process died goes on from its checkpoint (default: 2)")
    option("seed", int, "N", "of the sampler (default: 0)")
    option("address", str, "HOST:PORT", "a running Ray cluster, or auto (default: Ray is started here)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from cluster.tuning import search

    config = _search_config(args)
    job = {**job_of(args), "out": args.directory}
    result = search.run(config, job)
    if args.json:
        trials = [
            {"directory": t.directory, "drawn": t.drawn, "metrics": t.metrics, "diverged": t.diverged}
            for t in result.finished
        ]
        print(
            json.dumps(
                {"best": trials[0], "finished": trials, "ended_early": result.ended_early, "failed": result.failed}
            )
        )
        return 0
    for trial in result.finished[:10]:
        drawn = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in trial.drawn.items()
        )
        value = (trial.metrics or {}).get(config.metric)
        print(f"{config.metric} {'diverged' if value is None else format(value, '.5g'):<10} {drawn}")
    for trial in result.finished:
        if trial.diverged is not None:
            print(f"diverged    {trial.directory}: {trial.diverged}")
    print(f"finished    {len(result.finished)} trials, {result.ended_early} ended early, {len(result.failed)} failed")
    print(f"best        {result.best.directory}")
    return 0


def _search_config(args: argparse.Namespace) -> Any:
    from cluster.tuning.config import SearchConfig
    from engine.core.configs import decode, parse_assignment
    from engine.core.errors import ConfigError
    from engine.core.toml import TOMLDecodeError, loads

    values: dict[str, Any] = {}
    if args.space:
        try:
            with open(args.space, encoding="utf-8") as file:
                values = loads(file.read())
        except (OSError, TOMLDecodeError) as error:
            raise ConfigError(f"--space {args.space}: {error}") from None
    drawn = dict(parse_assignment(word, "--search") for word in args.search)
    values["search"] = {**values.get("search", {}), **drawn}
    values |= {name: getattr(args, name) for name in _FLAGS if hasattr(args, name)}
    return decode(SearchConfig, values)
