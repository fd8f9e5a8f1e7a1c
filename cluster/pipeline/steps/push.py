"""push: a model that met its thresholds becomes the one that is served."""

from __future__ import annotations

from cluster.pipeline.step import Counts, Step, StepContext, StepResult

__all__ = ["STEP"]


def _run(context: StepContext) -> StepResult:
    from trainers.push import current, history, push

    config = context.pipeline.push
    assert config is not None
    model = context.output("export", "model")
    done = history(config.to)
    if done and done[-1].get("action") == "push" and done[-1].get("source") == model:
        version = current(config.to)  # killed after the push: a second one would serve the same model as a new version
    else:
        version = push(model, config.to, evaluation=context.output("evaluate", "result"))
    return StepResult(
        counts=Counts(rows_in=0, rows_out=0),
        outputs={},
        notes=(f"served from {version}",),
        info={"version": str(version)},
    )


STEP = Step(name="push", after=("export", "evaluate"), run=_run)
