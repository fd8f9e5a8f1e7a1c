"""Labels that have no value, found before the training rather than by the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.core.errors import ConfigError, DataError, listed
from engine.schema.lists import is_list

if TYPE_CHECKING:
    from engine.feed.protocols import TrainingData

__all__ = ["check_labels"]


def check_labels(data: TrainingData, spec: Mapping[str, Any], labels: Sequence[str]) -> None:
    """Raises where a scalar label has no value in some record; reads the labels where the schema says that it may be so.

    Args:
        data: of the training; what has no `read_batches` lies in memory, where nothing is missing.
        spec: its feature spec: a column with nulls is a VarLenFeature.
        labels: names.

    Raises:
        ConfigError: the data has no such label.
        DataError: names the label, the number of the record, and what to do.
    """
    read = getattr(data, "read_batches", None)
    for name in labels:
        if name not in spec:
            raise ConfigError(f"label {name!r} not found; the data has {listed(sorted(spec))}")
        if name not in data.schema.names:
            continue  # made of several columns
        kind = data.schema.field(name).type
        if read is None or type(spec[name]).__name__ != "VarLenFeature" or is_list(kind):
            continue
        first = 0
        for batch in read(columns=[name]):
            empty = np.flatnonzero(batch.column(0).is_null().to_numpy(zero_copy_only=False))
            if len(empty):
                raise DataError(
                    f"label {name!r} has no value in record {first + int(empty[0]):,} (counted over all files, from 0); leave "
                    "such rows out, or fill them in preprocessing_fn"
                )
            first += batch.num_rows
