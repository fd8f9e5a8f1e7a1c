"""Anomalies: what was found, as TensorFlow Metadata's message and as text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2

__all__ = ["DATASET", "Reason", "anomalies_proto", "anomalies_text"]

DATASET = ""  # in place of a feature: the anomaly is of the whole data set
_SEVERE = anomalies_pb2.AnomalyInfo.ERROR


@dataclasses.dataclass(frozen=True)
class Reason:
    """One thing that is wrong.

    Attributes:
        feature: of what; `DATASET` for the whole.
        kind: name of `AnomalyInfo.Type`, e.g. "SCHEMA_NEW_COLUMN".
        short: a few words.
        text: with the values seen and allowed.
    """

    feature: str
    kind: str
    short: str
    text: str


def anomalies_proto(schema: Any, reasons: Sequence[Reason], distances: Sequence[Any]) -> anomalies_pb2.Anomalies:
    """Returns the `Anomalies`.

    Args:
        schema: what the data were held to; it becomes the baseline.
        reasons: all that is wrong.
        distances: `DriftSkewInfo` of all features that were compared, whether above their threshold or not.
    """
    found = anomalies_pb2.Anomalies(anomaly_name_format=anomalies_pb2.Anomalies.SERIALIZED_PATH)
    found.baseline.CopyFrom(schema)
    for name in sorted({reason.feature for reason in reasons}):
        mine = [reason for reason in reasons if reason.feature == name]
        info = found.dataset_anomaly_info if name == DATASET else found.anomaly_info[name]
        if name != DATASET:
            info.path.step.append(name)
        info.severity = _SEVERE
        info.short_description = mine[0].short if len(mine) == 1 else "Several anomalies"
        info.description = " ".join(reason.text for reason in mine)
        for reason in mine:
            kind = anomalies_pb2.AnomalyInfo.Type.Value(reason.kind)
            info.reason.add(type=kind, short_description=reason.short, description=reason.text)
    found.drift_skew_info.extend(distances)
    return found


def anomalies_text(anomalies: Any, records: int) -> str:
    """Returns the anomalies and the distances that were measured for people, a line each."""
    entries = [("the data set", anomalies.dataset_anomaly_info), *sorted(anomalies.anomaly_info.items())]
    lines = [f"{name}: {reason.description}" for name, info in entries for reason in info.reason]
    head = f"{len(lines)} anomal{'y' if len(lines) == 1 else 'ies'} in {records:,} records"
    for info in anomalies.drift_skew_info:
        for word, measured in (("drift", info.drift_measurements), ("skew", info.skew_measurements)):
            for each in measured:
                kind = type(each).Type.Name(each.type).replace("_", " ").lower()
                lines.append(
                    f"{'.'.join(info.path.step)}: {word}, {kind} {each.value:.6g} (allowed {each.threshold:g})"
                )
    return "\n".join([head, *lines])
