"""Data on disk to batches in memory and back: formats, splits, manifests, epoch plans and the training feed."""

from engine.dataset import Dataset
from engine.errors import ConfigError, DataError, FullpassError
from engine.ingest import IngestReport, ingest
from engine.manifest import Manifest
from engine.plan import EpochPlan, Remainder
from engine.read import read_split
from engine.sources import open_source, read_source
from engine.split import Split
from engine.version import __version__
from engine.write import write_batches

__all__ = [
    "ConfigError",
    "DataError",
    "Dataset",
    "EpochPlan",
    "FullpassError",
    "IngestReport",
    "Manifest",
    "Remainder",
    "Split",
    "__version__",
    "ingest",
    "open_source",
    "read_source",
    "read_split",
    "write_batches",
]
