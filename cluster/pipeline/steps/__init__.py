"""All steps, in the order of the work. A new one is a module with a `STEP`, a line here and its table in config.py."""

from cluster.pipeline.steps import analyze, evaluate, export, ingest, push, stats, train, transform, validate

__all__ = ["STEPS"]

STEPS = (
    ingest.STEP,
    stats.STEP,
    validate.STEP,
    analyze.STEP,
    transform.STEP,
    train.STEP,
    export.STEP,
    evaluate.STEP,
    push.STEP,
)
