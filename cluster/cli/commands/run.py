"""`fullpass run`: every step of a pipeline file that is not finished yet."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.core.run_log import begin, print_line, record

DESCRIPTION = "Run a pipeline: each step whose configuration, code or inputs changed since it was last finished."

EPILOG = """\
examples:
  fullpass run examples/flights/pipeline.toml
  fullpass run pipeline.toml --dry-run                     what would run, and why
  fullpass run pipeline.toml --from train                  train and all after it, again
  fullpass run pipeline.toml --track mlflow:http://host:5000 --track mlmd:metadata.db
  fullpass run pipeline.toml --set train.epochs=5 --set evaluate.thresholds.auc=0.93

a pipeline file:
  [pipeline]
  name = "clicks"
  module = "clicks.py"          # preprocessing_fn(inputs), build_model(context); beside this file
  label = "clicked"
  track = ["mlflow:http://host:5000"]   # as --track
  [data]                        # or [ingest], from CSV, Parquet or TFRecord
  train = "gs://bucket/train/*.tfrecord.gz"
  eval = "gs://bucket/eval/*.tfrecord.gz"
  [analyze]
  runner = "flink"
  [transform]
  [train]
  epochs = 2
  global_batch_size = 4096
  [export]
  [evaluate]
  slices = [["country"], ["country", "device"]]
  thresholds = { auc = 0.75 }

Exit code 3: the model did not reach its thresholds (said again, with its metrics, when its evaluation is skipped).

Each run has a log file, WORK_DIR/logs/run-TIME-PROCESS.log, that an error names; -v shows its lines while they are written.

At the end a page about the run is written, WORK_DIR/report.html, where fullpass[report] is installed.

A run that was killed goes on from the step it was in. Steps are skipped while nothing that they depend on has changed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.add_argument("pipeline", metavar="PIPELINE.toml", help="the pipeline file")
    parser.add_argument("--dry-run", action="store_true", help="show what would run and why; run nothing")
    parser.add_argument("--force", action="store_true", help="run every step, finished or not")
    parser.add_argument("--from", dest="start", metavar="STEP", help="run this step and all after it, finished or not")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="in place of the file's setting; repeatable",
    )
    parser.add_argument(
        "--track",
        metavar="TARGET",
        action="append",
        default=[],
        help="also record the finished run there: mlflow:URI (settings, metrics, curves, report) or mlmd:FILE (ML Metadata); repeatable",
    )
    parser.add_argument("--work-dir", metavar="DIR", help="where the results go, in place of the file's")


def run(args: argparse.Namespace) -> int:
    """Runs the command; 3 where the model did not reach its thresholds."""
    from cluster.pipeline import load_pipeline, run_pipeline
    from cluster.tracking import check_target
    from engine.core.exit_codes import DONE, NOT_MET
    from engine.machine.quiet import import_tensorflow

    for target in args.track:
        check_target(target)
    pipeline = load_pipeline(args.pipeline, overrides=args.overrides, work_dir=args.work_dir)
    for target in pipeline.track:
        check_target(target)
    if not args.dry_run:
        begin(Path(pipeline.work_dir) / "logs")
    results = run_pipeline(
        pipeline, force=args.force, start=args.start, dry_run=args.dry_run, say=_say, before_work=import_tensorflow
    )
    if not args.dry_run:
        page = write_report_page(pipeline.work_dir)
        for target in dict.fromkeys([*pipeline.track, *args.track]):
            _track(pipeline.work_dir, target, pipeline.name, page)
        if page is not None:
            _say(f"{'report':<10} {page.resolve().as_uri()}")
    failures = results["evaluate"].record.info.get("failures") if "evaluate" in results and not args.dry_run else None
    return NOT_MET if failures else DONE


def write_report_page(work_dir: str) -> Path | None:
    """Writes the page about the run. The run is finished and its results are whole: what is wrong with the page is said, no more."""
    from cluster.report import write_run_report

    try:
        return write_run_report(work_dir, finished=True)  # the next run may have begun
    except Exception as error:
        _say(f"{'report':<10} not written: {' '.join(str(error).split()) or type(error).__name__}")
        return None


def _track(work_dir: str, target: str, name: str, page: Path | None) -> None:
    from cluster.tracking import track

    files = [page] if page is not None else []
    _say(f"{'track':<10} {track(work_dir, target, name=name, files=files, finished=True)}")


def _say(line: str) -> None:
    print_line(line, sys.stdout)
    record(line)
