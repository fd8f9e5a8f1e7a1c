"""Data on disk to batches in memory and back: formats, splits, manifests, epoch plans and the training feed.

Names are imported when first used, so that the command line's help and the error classes come without pyarrow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from engine.errors import ConfigError, DataError, FullpassError
from engine.version import __version__

if TYPE_CHECKING:
    from engine.dataset import Dataset
    from engine.formats.options import OnDamage, ReadOptions
    from engine.ingestion import IngestReport, ingest
    from engine.manifest import Manifest
    from engine.plan import EpochPlan, Remainder
    from engine.read import read_split
    from engine.sources import open_source, read_source
    from engine.split import Split
    from engine.verify import VerifyReport
    from engine.write import write_batches

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
    "Dataset": "engine.dataset",
    "EpochPlan": "engine.plan",
    "IngestReport": "engine.ingestion",
    "Manifest": "engine.manifest",
    "OnDamage": "engine.formats.options",
    "ReadOptions": "engine.formats.options",
    "Remainder": "engine.plan",
    "Split": "engine.split",
    "VerifyReport": "engine.verify",
    "ingest": "engine.ingestion",
    "open_source": "engine.sources",
    "read_source": "engine.sources",
    "read_split": "engine.read",
    "write_batches": "engine.write",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return value
