"""`fullpass train`: the user's model on one process, or on a supervised group of them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from cluster.cli.data_flags import add_data_flags
from engine.core.run_log import begin, print_line, record, show_more

if TYPE_CHECKING:
    from cluster.steps.train import TrainConfig

DESCRIPTION = (
    "Trains the model of build_model(context). With several workers each has a supervisor: the group goes on from the "
    "last checkpoint when one dies. The same command in the same --out resumes a run that was interrupted."
)
EPILOG = """examples:
  fullpass train data/train --module model.py --label late --out runs/1 --epochs 3 --eval data/eval
  fullpass train out/train --graph out/graph --module model.py --label late --out runs/2 --epochs 3 --workers 4
  fullpass train out/train --module model.py --label late --out runs/3 --steps 10000 --workers 3 --ps 1
  fullpass train data/train --module towers.py --out runs/4 --epochs 3 --feature query --feature item

Each run has a log file, OUT/logs/run-TIME-PROCESS.log (./fullpass-logs where OUT is a URI), that an error names; -v shows
its lines while they are written.
Logs of a group: OUT/workers/worker-0.log (training) and OUT/workers/worker-0.supervisor.log (starts, faults); where OUT is
a URI they are in ./fullpass-workers. Every --set field is explained in docs/training.md.
Where TF_CONFIG is set (a pod of a cluster job) this process is the one member that it names, with its supervisor.
"""

__all__ = ["add_arguments", "add_training_arguments", "config_from", "job_of", "run", "train_from_json"]

_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_training_arguments(parser)
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes on this machine (default: 1)")
    parser.add_argument("--ps", type=int, default=0, metavar="N", help="parameter servers beside them (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what a training run in one process is."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="training data: files, globs or directories")
    parser.add_argument("--eval", action="append", default=[], metavar="PATH", help="evaluation data; repeatable")
    add_data_flags(parser)
    parser.add_argument(
        "--eval-filter",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="as --filter, for the evaluation data; repeatable (default: every file)",
    )
    parser.add_argument("--module", required=True, metavar="FILE.py", help="the module with build_model(context)")
    parser.add_argument(
        "--build-model", default="build_model", metavar="NAME", help="its function (default: %(default)s)"
    )
    parser.add_argument(
        "--callbacks",
        metavar="NAME",
        help="function of the module that returns a list of callbacks, see docs/callbacks.md",
    )
    parser.add_argument("--graph", metavar="DIR", help="transform graph of the data, for context.transform_output")
    parser.add_argument(
        "--label",
        action="append",
        metavar="NAME",
        help="feature that is the label; repeatable for several, none for a model with a loss of its own",
    )
    parser.add_argument(
        "--feature",
        dest="features",
        action="append",
        metavar="NAME",
        help="feature that is read for the model; repeatable (default: what the model's inputs name, else all)",
    )
    parser.add_argument("--weight", metavar="NAME", help="feature with the weight of each row")
    parser.add_argument("--out", dest="directory", required=True, metavar="DIR", help="checkpoints and logs go there")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--epochs", type=int, metavar="N", help="passes over the data")
    length.add_argument("--steps", type=int, metavar="N", help="optimizer steps in all")
    parser.add_argument(
        "--global-batch-size",
        "--batch-size",
        type=int,
        default=1024,
        metavar="N",
        help="global batch (default: %(default)s)",
    )
    parser.add_argument(
        "--strategy", default="auto", metavar="NAME", help="see docs/training.md (default: %(default)s)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="any field of TrainerConfig, see docs/training.md, e.g. xla=true, checkpoint.keep=5 or "
        '\'early_stopping={"metric": "auc", "mode": "max"}\'; repeatable',
    )
    parser.add_argument(
        "--param",
        dest="hyperparameters",
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="hyperparameter; repeatable",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from engine.core.environment import SUPERVISOR
    from engine.core.errors import ConfigError
    from engine.storage import uris

    if args.workers < 1 or args.ps < 0:
        raise ConfigError(f"--workers {args.workers} --ps {args.ps}: at least 1 worker and 0 parameter servers")
    job = {**job_of(args), "json": args.json}
    target = ["cluster.cli.commands.train:train_from_json", json.dumps(job)]
    supervised = bool(SUPERVISOR.read())
    if not supervised and os.environ.get("TF_CONFIG"):
        from trainers.supervision.worker import main

        return main(["--", *target])
    if not supervised and (args.workers > 1 or args.ps):
        return _run_group(args, target)
    from engine.machine.quiet import import_tensorflow

    import_tensorflow()
    if not supervised:
        # Beside TensorBoard's events; an object store has no file that grows, so the log of such a run is here.
        remote = uris.is_remote(args.directory)
        begin("fullpass-logs" if remote else uris.local_path(args.directory) / "logs")
    train_from_json(target[1])
    return 0


def _run_group(args: argparse.Namespace, target: list[str]) -> int:
    from engine.core import exit_codes
    from engine.storage import paths, uris
    from trainers.checkpoints.directory import latest_checkpoint
    from trainers.supervision.local_group import run_local_group

    logs = "fullpass-workers" if uris.is_remote(args.directory) else paths.join(args.directory, "workers")
    print_line(f"{args.workers} workers, {args.ps} parameter servers; logs in {logs}", sys.stderr)
    code = run_local_group(args.workers, target, logs, num_ps=args.ps, show_progress=True)
    result = paths.join(args.directory, "result.json")
    if code == 0 and paths.exists(result):
        with paths.open_input(result) as file:
            _show(json.loads(file.read()), args.json)
    if code in (exit_codes.INTERRUPTED, exit_codes.PREEMPTED):
        saved = latest_checkpoint(args.directory)
        where = f"the last checkpoint is {saved}" if saved else "nothing was saved yet"
        print_line(f"stopped; {where}; the same command goes on from there", sys.stderr)
    return code


def train_from_json(text: str) -> None:
    """Trains as `run` wrote it down in JSON, in this process."""
    from cluster.steps import train
    from engine import Dataset
    from engine.core.configs import decode
    from engine.core.environment import SUPERVISOR
    from engine.core.json_text import plain_json
    from engine.storage import paths

    if SUPERVISOR.read():  # its output is the log of this member
        show_more()
    job = json.loads(text)
    config = decode(train.TrainConfig, job["config"])

    def open_all(given: list[str], filters: list[str]) -> Dataset:
        return Dataset.open(given if len(given) > 1 else given[0], job["feature_spec"], filters=filters)

    data = open_all(job["data"], job["filters"])
    _log.info("data: %d records in %d files of %s", data.num_records, len(data.paths), ", ".join(job["data"]))
    result = train.run(
        config,
        job["module"],
        data,
        eval=open_all(job["eval"], job["eval_filters"]) if job["eval"] else None,
        graph=job["graph"],
    )
    if not result.is_chief:
        return
    values = {
        "steps": result.steps, "epochs": result.epochs, "metrics": result.metrics, "eval_metrics": result.eval_metrics,
        "checkpoint": result.checkpoint, "resumed_from": result.resumed_from, "best_checkpoint": result.best_checkpoint,
        "examples_per_s": result.examples_per_s, "seconds": result.seconds,
    }  # fmt: skip
    values = plain_json(values)
    if bool(SUPERVISOR.read()):
        with paths.open_output(paths.join(config.directory, "result.json")) as file:
            file.write(json.dumps(values).encode())
    _show(values, job["json"])


def job_of(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what a process that trains needs to know, JSON-able.

    Raises:
        ConfigError: a wrong setting, said before any process is started.
    """
    from engine.core.configs import encode

    return {
        "config": encode(config_from(args)), "module": args.module, "data": args.paths, "eval": args.eval, "graph": args.graph,
        "feature_spec": args.feature_spec, "filters": args.filter, "eval_filters": args.eval_filter,
    }  # fmt: skip


def config_from(args: argparse.Namespace) -> TrainConfig:
    """Returns the step's settings from the options of the command line, `--set` last.

    Raises:
        ConfigError: an unknown setting, or a value that it does not take.
    """
    from cluster.steps.train import TrainConfig
    from engine.core.configs import assign, decode, parse_assignment

    names = {field.name for field in dataclasses.fields(TrainConfig)}
    values = {name: value for name, value in vars(args).items() if name in names}
    # One label is a text: several are the names of a dictionary of labels.
    values["label"] = args.label[0] if args.label and len(args.label) == 1 else args.label
    values["hyperparameters"] = dict(parse_assignment(word, "--param") for word in args.hyperparameters)
    for word in args.set:
        assign(values, *parse_assignment(word))
    return decode(TrainConfig, values)


def _show(values: dict[str, Any], as_json: bool) -> None:
    lines = [f"steps       {values['steps']:,} ({values['epochs']:.3g} epochs), started at {values['resumed_from']:,}"]
    for name in ("metrics", "eval_metrics"):
        if values[name]:
            shown = [f"{k} {'not a number' if v is None else format(v, '.5g')}" for k, v in values[name].items()]
            lines.append(f"{name:<11} {', '.join(shown)}")
    seconds = {kind: value for kind, value in values["seconds"].items() if value >= 0.05}
    lines.append(f"speed       {values['examples_per_s']:,.0f} examples/s")
    lines.append(f"time        {', '.join(f'{kind} {value:.1f} s' for kind, value in seconds.items())}")
    lines.append(f"checkpoint  {values['checkpoint']}")
    if values["best_checkpoint"]:
        lines.append(f"best        {values['best_checkpoint']}")
    for line in lines:
        record(line)
    print(json.dumps(values) if as_json else "\n".join(lines))
