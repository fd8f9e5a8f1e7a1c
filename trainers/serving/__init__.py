"""Serving: blessed versions pushed atomically, and a model that swaps versions while requests run."""

from trainers.serving.live_model import LiveModel, Version

__all__ = ["LiveModel", "Version"]
