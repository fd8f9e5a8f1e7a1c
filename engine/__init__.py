"""Data on disk to batches in memory and back: formats, splits, manifests, epoch plans and the training feed.

Names are imported when first used, so that the command line's help and the error classes come without pyarrow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from engine.core.errors import ConfigError, DataError, FullpassError
from engine.version import __version__

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset
    from engine.dataset.manifest import Manifest
    from engine.dataset.verify import VerifyReport
    from engine.dataset.write import write_batches
    from engine.formats.options import OnDamage, ReadOptions
    from engine.formats.read import read_split
    from engine.formats.split import Split
    from engine.ingestion.ingestion import IngestReport, ingest
    from engine.ingestion.open_source import open_source, read_source
    from engine.plan import EpochPlan, Remainder

__all__ = [
    "ConfigError",
    "DataError",
    "Dataset",
    "EpochPlan",
    "FullpassError",
    "IngestReport",
    "Manifest",
    "OnDamage",
    "ReadOptions",
    "Remainder",
    "Split",
    "VerifyReport",
    "__version__",
    "ingest",
    "open_source",
    "read_source",
    "read_split",
    "write_batches",
]

_MODULES = {
    "Dataset": "engine.dataset.dataset",
    "EpochPlan": "engine.plan",
    "IngestReport": "engine.ingestion.ingestion",
    "Manifest": "engine.dataset.manifest",
    "OnDamage": "engine.formats.options",
    "ReadOptions": "engine.formats.options",
    "Remainder": "engine.plan",
    "Split": "engine.formats.split",
    "VerifyReport": "engine.dataset.verify",
    "ingest": "engine.ingestion.ingestion",
    "open_source": "engine.ingestion.open_source",
    "read_source": "engine.ingestion.open_source",
    "read_split": "engine.formats.read",
    "write_batches": "engine.dataset.write",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return value
