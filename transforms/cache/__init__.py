"""The span cache: partial results of an analysis kept for the next one over grown data."""

from transforms.cache.cache import CachingRunner, analyze_spans
from transforms.cache.spans import spans_of

__all__ = ["CachingRunner", "analyze_spans", "spans_of"]
