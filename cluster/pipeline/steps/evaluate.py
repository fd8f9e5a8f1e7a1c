"""evaluate: the exported model on raw rows of the eval split, overall and by segment."""

from __future__ import annotations

from cluster.pipeline.step import Counts, Step, StepContext, StepResult

__all__ = ["STEP"]

_RESULT = "evaluation.json"


def _run(context: StepContext) -> StepResult:
    from engine import Dataset
    from trainers.evaluation.evaluate import evaluate

    config = context.pipeline.evaluate
    assert config is not None
    dataset = Dataset.open(context.raw("eval"))
    result = evaluate(
        context.output("export", "model"),
        dataset,
        context.pipeline.label,
        slices=[list(columns) for columns in config.slices],
        thresholds=config.thresholds,
    )
    result.save(str(context.out / _RESULT))
    return StepResult(
        counts=Counts(rows_in=dataset.num_records, rows_out=result.rows),
        outputs={"result": _RESULT},
        notes=("", *result.table(show=config.show).splitlines()),
        info={"overall": dict(result.overall), "blessed": result.blessed, "failures": list(result.failures)},
    )


STEP = Step(
    name="evaluate",
    after=("ingest", "export"),
    run=_run,
    packages=("tensorflow",),
    cosmetic=("show",),
)
