"""Accumulators of vocabularies."""
