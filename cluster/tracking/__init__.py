"""Finished runs in the records of others: MLflow, ML Metadata."""

from cluster.tracking.track import check_target, track

__all__ = ["check_target", "track"]
