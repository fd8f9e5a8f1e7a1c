"""Full passes over data: TensorFlow Transform's preprocessing functions, run by Fullpass.

`import transforms` is free of TensorFlow; it is imported when a function is called.
"""

from transforms.analyze import AnalyzeReport, analyze
from transforms.transform import TransformReport, transform

__all__ = ["AnalyzeReport", "TransformReport", "analyze", "transform"]
