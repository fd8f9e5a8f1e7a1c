"""evaluate: the exported model on raw rows of the eval split, overall and by segment."""

from __future__ import annotations

from cluster.pipeline.config import Pipeline
from cluster.pipeline.step import Counts, Step, StepContext, StepResult
from cluster.pipeline.steps.validate import keep_blessed

__all__ = ["STEP"]

_RESULT = "evaluation.json"


def _run(context: StepContext) -> StepResult:
    from cluster.steps import evaluate

    config = context.pipeline.evaluate
    assert config is not None
    dataset = context.raw("eval")
    model, label = context.output("export", "model"), context.pipeline.labels[0]
    result = evaluate.run(config, model, dataset, label, out=context.out / _RESULT)
    if result.blessed and "stats" in context.before:
        keep_blessed(context)
    return StepResult(
        counts=Counts(rows_in=dataset.num_records, rows_out=result.rows),
        outputs={"result": _RESULT},
        notes=("", *result.table(show=config.show).splitlines()),
        # What has no meaning is null: NaN is no JSON, and others read the record.
        info={"overall": result.as_json()["overall"], "blessed": result.blessed, "failures": list(result.failures)},
    )


def _inputs(pipeline: Pipeline) -> dict[str, str]:
    from cluster.pipeline.input_files import fingerprint

    assert pipeline.evaluate is not None
    files = {"baseline": pipeline.evaluate.baseline, "eval_config": pipeline.evaluate.eval_config}
    return {name: fingerprint(path) for name, path in files.items() if path}


STEP = Step(
    name="evaluate",
    after=("ingest", "stats", "export"),
    run=_run,
    inputs=_inputs,
    packages=("tensorflow",),
    cosmetic=("show",),
)
