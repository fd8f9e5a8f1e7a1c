"""Stands in for `tensorflow_transform.beam`: the same names, signatures, inputs and outputs, by Fullpass's passes.

from transforms import beam as tft_beam      # instead of: import tensorflow_transform.beam as tft_beam
"""

from tensorflow_transform.beam import (
    Context,
    EncodeTransformedDataset,
    ReadTransformFn,
    WriteMetadata,
    WriteTransformFn,
    analyzer_cache,
    experimental,
)

from transforms.beam.analyze_dataset import AnalyzeDataset
from transforms.beam.transform_dataset import AnalyzeAndTransformDataset, TransformDataset
from transforms.beam.with_cache import AnalyzeDatasetWithCache

__all__ = [
    "AnalyzeAndTransformDataset",
    "AnalyzeDataset",
    "AnalyzeDatasetWithCache",
    "Context",
    "EncodeTransformedDataset",
    "ReadTransformFn",
    "TransformDataset",
    "WriteMetadata",
    "WriteTransformFn",
    "analyzer_cache",
    "experimental",
]
