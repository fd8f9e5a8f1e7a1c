"""Full passes over data: TensorFlow Transform's preprocessing functions, run by Fullpass.

`import transforms` is free of TensorFlow; it is imported when a function is called.
"""

from transforms.analyze import AnalyzeReport, analyze

__all__ = ["AnalyzeReport", "analyze"]
