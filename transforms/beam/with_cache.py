"""`AnalyzeDatasetWithCache`: TFT's transform by its own name, until a pipeline asks for Fullpass's cache."""

from __future__ import annotations

from tensorflow_transform.beam import AnalyzeDatasetWithCache

__all__ = ["AnalyzeDatasetWithCache"]
