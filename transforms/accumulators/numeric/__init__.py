"""Accumulators of numbers."""
