"""Evaluation of an exported model: metrics by segment, thresholds, a blessing."""

from trainers.evaluation.evaluate import EvaluationResult, SliceResult, Threshold, evaluate, parse_thresholds

__all__ = ["EvaluationResult", "SliceResult", "Threshold", "evaluate", "parse_thresholds"]
