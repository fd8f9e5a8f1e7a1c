"""Runners: where the passes of an analysis and a transformation run. One a file, found by name."""

from transforms.runners.base import FeatureReader, PassResult, Runner, SplitReader
from transforms.runners.registry import make_runner

__all__ = ["FeatureReader", "PassResult", "Runner", "SplitReader", "make_runner"]
