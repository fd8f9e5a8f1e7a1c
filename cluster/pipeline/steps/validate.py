"""validate: both splits held to the schema, train to the last blessed run and to what is asked of the model, eval to train.

Anomalies end the run before anything is trained. No later step reads its results, so a run whose data fit trains nothing anew.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from cluster.pipeline.config import Pipeline
from cluster.pipeline.step import Counts, Step, StepContext, StepResult
from cluster.pipeline.steps.stats import directory_of
from engine.core.errors import NotMet
from engine.storage.atomic import atomic_file

__all__ = ["STEP", "blessed_statistics", "keep_blessed"]

_SHOWN = 5


def blessed_statistics(work_dir: str | Path) -> Path:
    """Returns where the statistics of the train split of the last blessed run are kept."""
    from transforms.validation.files import STATISTICS

    return Path(work_dir) / "blessed" / STATISTICS


def keep_blessed(context: StepContext) -> None:
    """Keeps the statistics of a run whose model is blessed: later ones are compared with them."""
    from transforms.validation.files import STATISTICS

    to = blessed_statistics(context.pipeline.work_dir)
    to.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(to) as temporary:
        shutil.copyfile(Path(context.output("stats", "train")) / STATISTICS, temporary)


def _run(context: StepContext) -> StepResult:
    from cluster.steps import validate

    config = context.pipeline.validate
    assert config is not None
    blessed = blessed_statistics(context.pipeline.work_dir)
    notes = []
    against, name = config.against, "the earlier data"
    if not against and blessed.is_file():
        against, name = str(blessed), "the last blessed run"
    elif not against and (config.drift or config.schema):
        notes.append("no run is blessed yet: drift is not judged")
    serving = validate.statistics_of(config.serving, config.schema or None) if config.serving else None
    train, evaluation = context.output("stats", "train"), context.output("stats", "eval")
    drift = config.drift if against else {}
    first = dataclasses.replace(
        config, against=against, drift=drift, serving="", skew={} if serving is None else config.skew
    )
    reports = {
        "train": validate.run(first, train, context.out / directory_of("train"), serving=serving, against_name=name)
    }
    plain = dataclasses.replace(config, against="", drift={}, serving="", skew={})
    second = dataclasses.replace(plain, against=train, drift=config.split_drift) if config.split_drift else plain
    out = context.out / directory_of("eval")
    reports["eval"] = validate.run(second, evaluation, out, against_name="train", comparators=False)
    if serving is not None:
        reports["serving"] = _serving(context, plain, serving)
    return _result(context, reports, notes)


def _serving(context: StepContext, config: Any, serving: Any) -> Any:
    """What is asked of the model is held to the schema in its environment SERVING, where it has one; it has no label."""
    from cluster.steps import validate
    from transforms.validation.schema_file import as_schema, environments

    has = config.schema and "SERVING" in environments(as_schema(config.schema))
    there = dataclasses.replace(config, environment="SERVING" if has else "")
    out = context.out / directory_of("serving")
    return validate.run(there, serving, out, ignore=context.pipeline.labels, comparators=False)


def _result(context: StepContext, reports: dict[str, Any], notes: list[str]) -> StepResult:
    found = [
        f"{split}: {name or 'the data set'}: {text}" for split, r in reports.items() for name, _, text in r.reasons
    ]
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        plural = "anomaly" if len(found) == 1 else "anomalies"
        files = context.out / directory_of("*") / "anomalies.txt"
        raise NotMet(f"{len(found)} {plural}: {' '.join(found[:_SHOWN])}{more} All are in {files}")
    records = sum(reports[split].records for split in ("train", "eval"))
    for split, report in reports.items():
        lines = report.text.splitlines()
        notes += [f"{split}: {lines[0]}", *(f"  {line}" for line in lines[1:])]
    return StepResult(
        counts=Counts(rows_in=records, rows_out=records),
        outputs={split: directory_of(split) for split in reports},
        notes=tuple(notes),
    )


def _inputs(pipeline: Pipeline) -> dict[str, str]:
    from cluster.pipeline.input_files import fingerprint
    from transforms.validation.files import statistics_file

    config = pipeline.validate
    assert config is not None
    given = {name: getattr(config, name) for name in ("schema", "against", "serving")}
    return {name: fingerprint(statistics_file(path) or path) for name, path in given.items() if path}


STEP = Step(name="validate", after=("ingest", "stats"), run=_run, inputs=_inputs, packages=("tensorflow-metadata",))
