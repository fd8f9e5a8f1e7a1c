"""`[ingest.types]`: which of the sources' columns have a declared type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.core.configs import refusal
from engine.core.errors import ConfigError
from engine.formats.csv.options import COLUMN_TYPES

__all__ = ["flat_types", "types_of_source"]


def flat_types(table: Mapping[str, Any]) -> dict[str, str]:
    """Returns "COLUMN" or "SOURCE.COLUMN" → type; a table below `types` is that of a source.

    Raises:
        ConfigError: an unknown type.
    """
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{column}": kind for column, kind in value.items()}
        else:
            flat[key] = value
    for key, kind in flat.items():
        if kind not in COLUMN_TYPES:
            raise refusal(f"types.{key}", kind, f"one of {', '.join(map(repr, COLUMN_TYPES))}")
    return flat


def types_of_source(types: Mapping[str, str], columns: Mapping[str, list[str]]) -> dict[str, dict[str, str]]:
    """Returns for each source its columns' declared types. A type without a source is for every source with that column.

    Args:
        types: as `flat_types` gives them.
        columns: name of each CSV source → its columns.

    Raises:
        ConfigError: no source has the column.
    """
    found: dict[str, dict[str, str]] = {source: {} for source in columns}
    for key, kind in types.items():
        source, dot, column = key.partition(".")
        if dot and source in columns:
            owners = [source] if column in columns[source] else []
        else:
            column = key
            owners = [name for name, names in columns.items() if key in names]
        if not owners:
            there = "; ".join(f"{name} has {', '.join(names)}" for name, names in columns.items())
            raise ConfigError(f"types.{key}: no CSV source has this column ({there or 'there is no CSV source'})")
        for owner in owners:
            found[owner][column] = kind
    return found
