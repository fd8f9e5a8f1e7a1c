"""What Fullpass notes in the metadata of Arrow schemas, each key once, and how a note is read."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from engine.core.errors import ConfigError
from engine.core.json_text import parse_json

__all__ = [
    "DEFAULT",
    "FEATURE",
    "INFERRED",
    "PARTITION",
    "PLACE",
    "SEQUENCE",
    "SHAPE",
    "TIMES",
    "feature_descriptions",
    "read_note",
]

DEFAULT = b"fullpass.default"  # of a field: JSON of the values for a record without the feature
SHAPE = b"fullpass.shape"  # of a field: JSON of the shape of one record's value
FEATURE = b"fullpass.feature"  # of a field: JSON list of the compound features that it is a part of
SEQUENCE = b"fullpass.sequence"  # of a field: JSON, the feature list of tf.SequenceExample that it holds
PARTITION = b"fullpass.partition"  # of a field: the key of the directories that its values are read from
TIMES = b"fullpass.times"  # of a field that is no time: JSON of the type of time that all files' values of it are counted as
PLACE = b"fullpass.place"  # of a batch's schema: JSON of its file, and of its first record's index there
INFERRED = b"fullpass.inferred"  # of a schema: "whole" or "sample", by how much of the data was looked at


def read_note(field: pa.Field, key: bytes) -> Any:
    """Returns the JSON value that a field has under a key; None where it has none.

    Raises:
        ConfigError: what is there is not JSON: somebody else wrote the file.
    """
    text = (field.metadata or {}).get(key)
    try:
        return None if text is None else parse_json(text)
    except ValueError as error:
        raise ConfigError(
            f"column {field.name!r}: its metadata {key.decode()} is damaged ({error}); write the file again, without it"
        ) from None


def feature_descriptions(field: pa.Field) -> list[dict[str, Any]]:
    """Returns the compound features (sparse, ragged) that a column is a part of; [] for a column that is a feature itself."""
    return read_note(field, FEATURE) or []
