"""Data on disk to batches in memory and back: formats, splits, manifests, epoch plans and the training feed."""

from engine.errors import ConfigError, DataError, FullpassError
from engine.version import __version__

__all__ = ["ConfigError", "DataError", "FullpassError", "__version__"]
