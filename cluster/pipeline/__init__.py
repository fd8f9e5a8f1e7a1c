"""The pipeline runner: steps as data, finished work found again by the hash of all it depends on.

from cluster.pipeline import load_pipeline, run_pipeline

results = run_pipeline(load_pipeline("examples/flights/pipeline.toml"))
print(results["evaluate"].record.info["overall"]["auc"], results["export"].output("model"))
"""

from cluster.pipeline.config import (
    AnalyzeConfig,
    DataConfig,
    EvaluateConfig,
    ExportConfig,
    IngestConfig,
    Pipeline,
    PushConfig,
    SourceConfig,
    StatsConfig,
    TrainConfig,
    TransformConfig,
    ValidateConfig,
    load_pipeline,
)
from cluster.pipeline.execute import PipelineError, run_pipeline
from cluster.pipeline.records import Finished, StepRecord

__all__ = [
    "AnalyzeConfig",
    "DataConfig",
    "EvaluateConfig",
    "ExportConfig",
    "Finished",
    "IngestConfig",
    "Pipeline",
    "PipelineError",
    "PushConfig",
    "SourceConfig",
    "StatsConfig",
    "StepRecord",
    "TrainConfig",
    "TransformConfig",
    "ValidateConfig",
    "load_pipeline",
    "run_pipeline",
]
