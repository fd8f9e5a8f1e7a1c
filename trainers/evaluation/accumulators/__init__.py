"""Metric accumulators: filled from whole batches for all segments at once, mergeable, independent of the batches' cuts."""

from trainers.evaluation.accumulators.base import Accumulator
from trainers.evaluation.accumulators.metric_table import MetricTable

__all__ = ["Accumulator", "MetricTable"]
