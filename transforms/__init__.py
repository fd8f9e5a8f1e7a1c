"""Full passes over data: TensorFlow Transform's preprocessing functions, run by Fullpass.

`import transforms` is free of TensorFlow; it is imported when a function is called.
"""

from transforms.analyze import AnalyzeReport, analyze
from transforms.statistics import StatisticsReport, statistics
from transforms.transform import TransformReport, transform
from transforms.validate import ValidationReport, validate

__all__ = [
    "AnalyzeReport",
    "StatisticsReport",
    "TransformReport",
    "ValidationReport",
    "analyze",
    "statistics",
    "transform",
    "validate",
]
