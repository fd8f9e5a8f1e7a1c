"""Evaluation data in the form of the training data: what a model was trained on is what it is evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from engine import Dataset
from engine.core.errors import ConfigError, DataError, column_not_found

if TYPE_CHECKING:
    from engine.feed.protocols import TrainingData

__all__ = ["like_training"]


def like_training(evaluation: TrainingData, train: TrainingData, columns: Sequence[str]) -> TrainingData:
    """Returns the evaluation data with the types of the training data, found to fit before the first step.

    Types are inferred from each of both alone: a column without fractions is one of whole numbers there, one that lacks no
    value is dense. Handed to the model so, it would be another input than the one trained on.

    Args:
        evaluation: data for the metrics of each evaluation.
        train: what is trained on.
        columns: those that are read.

    Raises:
        ConfigError: there are no records, or a column of the training data is not there.
        DataError: values that are not of the training data's types; names the column, file and record.
    """
    if not isinstance(evaluation, Dataset) or not isinstance(train, Dataset):
        return evaluation
    if evaluation.num_records == 0:
        raise ConfigError("the evaluation data has no records; give others, or leave them out")
    asked, there = train.feature_spec(), evaluation.feature_spec()
    fields, other = [], []
    for field in train.schema:
        name = field.name
        if name not in columns:
            continue
        if name in evaluation.schema.names and (name not in asked or asked[name] == there.get(name)):
            fields.append(evaluation.schema.field(name))
            continue
        if name not in evaluation.schema.names and getattr(asked.get(name), "default_value", None) is None:
            raise ConfigError(f"evaluation data: {column_not_found([name], evaluation.schema.names)}")
        fields.append(field)
        other.append(name)
    if not other:
        return evaluation
    alike = Dataset.open(evaluation.manifest, pa.schema(fields, metadata=evaluation.schema.metadata))
    try:
        for _ in alike.read_batches(columns=other):
            pass
    except DataError as error:
        reason = f"{error.message} (the schema is that of the training data, which evaluation data must fit)"
        raise DataError(reason, path=error.path, record=error.record, offset_bytes=error.offset_bytes) from None
    return alike
