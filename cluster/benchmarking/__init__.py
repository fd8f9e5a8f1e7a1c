"""Measuring against a peer: pairs, results with their circumstances, comparison of two results, fixtures for pytest."""

from __future__ import annotations

__all__: list[str] = []
