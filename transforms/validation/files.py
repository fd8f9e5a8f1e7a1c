"""The files of statistics and of anomalies, under TFX's own names; docs/statistics.md lists them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format, message, text_format
from tensorflow_metadata.proto.v0 import statistics_pb2

from engine.core.errors import ConfigError, DataError
from engine.storage import paths
from engine.storage.destination import Destination

__all__ = [
    "ANOMALIES",
    "SCHEMA",
    "STATISTICS",
    "as_json",
    "is_statistics",
    "load_statistics",
    "statistics_file",
    "write_anomalies",
    "write_statistics",
]

STATISTICS, ANOMALIES, SCHEMA = "FeatureStats.pb", "SchemaDiff.pb", "schema.pbtxt"
LABEL_SHARES = "label_shares.json"
TEXT = "anomalies.txt"
_SUFFIXES = (".pb", ".pbtxt", ".json")
_STATISTICS_ALONE = (".pb", ".pbtxt", "FeatureStats.json")


def is_statistics(path: str) -> bool:
    """Returns whether a path is that of statistics: FeatureStats.json, any .pb or .pbtxt, or a directory that holds FeatureStats.pb."""
    return statistics_file(path) is not None


def statistics_file(path: str) -> str | None:
    """Returns the file of statistics that a path names, itself or in a directory; None where it names none."""
    if path.endswith(_STATISTICS_ALONE):  # another .json may be lines of data
        return path
    name = paths.join(path, STATISTICS)
    return name if paths.exists(name) else None


def load_statistics(path: str) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Returns statistics from a file (.pb, .pbtxt or .json), or from a directory that holds `FeatureStats.pb`.

    Raises:
        ConfigError: nothing is there.
        DataError: the file holds no statistics.
    """
    name = path if path.endswith(_SUFFIXES) else paths.join(path, STATISTICS)
    if not paths.exists(name):
        raise ConfigError(f"{path}: no statistics are there; give a directory of `fullpass stats --out`, or its file")
    with paths.open_input(name) as file:
        data = b"".join(iter(lambda: file.read(1 << 20), b""))
    found = statistics_pb2.DatasetFeatureStatisticsList()
    try:
        if name.endswith(".pb"):
            found.ParseFromString(data)
        elif name.endswith(".json"):
            json_format.Parse(data.decode(), found)
        else:
            text_format.Parse(data.decode(), found)
    except (message.DecodeError, json_format.ParseError, text_format.ParseError, UnicodeDecodeError) as error:
        raise DataError(f"holds no DatasetFeatureStatisticsList: {error}", path=name) from error
    if not found.datasets:
        raise DataError("holds a DatasetFeatureStatisticsList without a data set", path=name)
    return found


def write_statistics(
    destination: Destination, statistics: Any, schema: Any, label_shares: Mapping[str, Any] | None = None
) -> None:
    """Writes a directory of statistics, with the schema that belongs to them and the shares of labels that were asked for."""
    with destination.stage() as directory:
        if label_shares:
            text = json.dumps(label_shares, indent=1, ensure_ascii=False)
            (directory / LABEL_SHARES).write_text(text + "\n", encoding="utf-8")
        (directory / SCHEMA).write_text(text_format.MessageToString(schema, as_utf8=True), encoding="utf-8")
        _write(directory, STATISTICS, statistics)


def write_anomalies(destination: Destination, anomalies: Any, text: str) -> None:
    """Writes a directory of anomalies."""
    with destination.stage() as directory:
        (directory / TEXT).write_text(text + "\n", encoding="utf-8")
        _write(directory, ANOMALIES, anomalies)


def as_json(proto: Any) -> str:
    """Returns statistics or anomalies as the JSON of their files."""
    return str(json_format.MessageToJson(proto, preserving_proto_field_name=True, indent=1, ensure_ascii=False))


def _write(directory: Path, name: str, proto: Any) -> None:
    stem = name.removesuffix(".pb")
    (directory / f"{stem}.pbtxt").write_text(text_format.MessageToString(proto, as_utf8=True), encoding="utf-8")
    (directory / f"{stem}.json").write_text(as_json(proto) + "\n", encoding="utf-8")
    (directory / name).write_bytes(proto.SerializeToString(deterministic=True))
