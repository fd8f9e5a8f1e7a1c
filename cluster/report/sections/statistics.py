"""The section of the data: counts, statistics of each feature with a sketch of its distribution, anomalies, drift and skew."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.report.model import Cell, Column, Section, Table, number
from cluster.report.runs import Run
from cluster.report.sections.work import data_counts
from engine.core.errors import DataError

__all__ = ["data_section"]

_MOST_FEATURES = 2000
_BARS = 20
_TYPES = {0: "int", 1: "float", 2: "string", 3: "bytes", 4: "struct"}  # FeatureNameStatistics.Type
_STANDARD = 0  # Histogram.HistogramType: of equal widths; the other has equal counts


def data_section(runs: Sequence[Run]) -> Section:
    """Returns the section of the data."""
    blocks: list[Any] = data_counts(runs)
    missing = []
    found = [
        (f"{run.name}, {split}" if len(runs) > 1 else split, stats) for run in runs for split, stats in _splits(run)
    ]
    if found:
        blocks.append(_features(found))
    else:
        missing.append("No statistics of the features: a table [stats] in the pipeline file makes them.")
    anomalies, distances = [], []
    for run in runs:
        for split, message in _validations(run):
            name = f"{run.name}, {split}" if len(runs) > 1 else split
            anomalies += list(_anomalies(name, message))
            distances += list(_distances(name, message))
    validated = any("validate" in run.steps for run in runs)
    if anomalies:
        titles = ("feature", "data", "what", "severity", "more")
        blocks.append(Table(caption="Anomalies", columns=[Column(t) for t in titles], rows=anomalies))
    if distances:
        columns = [Column("feature"), Column("data"), Column("measure"), Column("distance", numeric=True)]
        columns += [Column("most allowed", numeric=True), Column("within")]
        distances.sort(key=lambda row: -(row[3].sort or 0))
        blocks.append(Table(caption="Drift and skew, the largest distance first", columns=columns, rows=distances))
    if not validated:
        missing.append("No check against a schema, no drift: a table [validate] in the pipeline file makes them.")
    elif not anomalies:
        rows = [[Cell(run.name), Cell("no anomalies", flag="good")] for run in runs if "validate" in run.steps]
        blocks.append(Table(caption="Validation", columns=[Column("data"), Column("verdict")], rows=rows))
    return Section(name="data", title="Data", blocks=blocks, missing=missing)


def _splits(run: Run) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields split and the statistics of its features, of all records."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    for split in ("train", "eval"):
        directory = run.output("stats", split)
        if directory is None:
            continue
        parsed = _parsed(statistics_pb2.DatasetFeatureStatisticsList(), directory / "FeatureStats.pb")
        if parsed is not None and parsed.datasets:
            dataset = parsed.datasets[0]
            yield split, {_name(feature): feature for feature in dataset.features}


def _validations(run: Run) -> Iterator[tuple[str, Any]]:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    for split in ("train", "eval", "serving"):
        directory = run.output("validate", split)
        parsed = None if directory is None else _parsed(anomalies_pb2.Anomalies(), directory / "SchemaDiff.pb")
        if parsed is not None:
            yield split, parsed


def _parsed(message: Any, path: Path) -> Any:
    from google.protobuf.message import DecodeError

    try:
        message.ParseFromString(path.read_bytes())
    except FileNotFoundError:
        return None
    except DecodeError as error:
        raise DataError(f"is damaged: {error}; run its step again", path=str(path)) from None
    return message


def _name(feature: Any) -> str:
    return str(feature.name or ".".join(feature.path.step))


def _features(found: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    names = list(dict.fromkeys(name for _, features in found for name in features))
    columns = [Column("feature"), Column("data"), Column("type"), Column("distribution")]
    columns += [
        Column(t, numeric=True) for t in ("values", "missing %", "mean", "deviation", "least", "median", "greatest")
    ]
    columns += [
        Column("zero %", numeric=True),
        Column("distinct", numeric=True),
        Column("most frequent"),
    ]
    rows = []
    for name in names[:_MOST_FEATURES]:
        for split, features in found:
            if name in features:
                rows.append([Cell(name), Cell(split), *_cells(features[name])])
    caption = "Features"
    if len(names) > _MOST_FEATURES:
        caption += f" (the first {_MOST_FEATURES:,} of {len(names):,}; FeatureStats.pb has all)"
    return Table(caption=caption, columns=columns, rows=rows)


def _cells(feature: Any) -> list[Cell]:
    which = feature.WhichOneof("stats")
    stats: Any = getattr(feature, which) if which else None
    common = stats.common_stats if stats is not None and which != "struct_stats" else None
    present = common.num_non_missing if common else 0
    records = present + (common.num_missing if common else 0)
    missing = 100 * common.num_missing / records if common and records else math.nan
    moments: list[Any] = [math.nan] * 5
    zero, distinct = math.nan, math.nan
    bars: tuple[float, ...] = ()
    frequent = ""
    if which == "num_stats":
        moments = [stats.mean, stats.std_dev, stats.min, stats.median, stats.max]
        values = common.tot_num_values if common else 0
        zero = 100 * stats.num_zeros / values if values else math.nan
        bars = _histogram(stats.histograms)
    elif which == "string_stats":
        distinct = stats.unique
        top = sorted(stats.top_values, key=lambda v: -v.frequency)
        bars = tuple(v.frequency for v in top[:_BARS])
        frequent = ", ".join(f"{v.value} ({v.frequency:,.0f})" for v in top[:5])
    sketch = Cell("" if bars else "–", bars=(bars,) if bars else ())
    counts = [Cell(_TYPES.get(feature.type, "–")), sketch, number(present), _percent(missing)]
    return [*counts, *(number(m) for m in moments), _percent(zero), number(distinct), Cell(frequent)]


def _percent(value: float) -> Cell:
    return Cell(f"{value:.2f}", value) if math.isfinite(value) else Cell("–")


def _histogram(histograms: Any) -> tuple[float, ...]:
    """Returns the heights of bars of equal widths; buckets of equal counts are spread over them."""
    chosen = next((h for h in histograms if h.type == _STANDARD), None) or next(iter(histograms), None)
    buckets = (
        [b for b in chosen.buckets if math.isfinite(b.low_value) and math.isfinite(b.high_value)] if chosen else []
    )
    if not buckets:
        return ()
    low, high = buckets[0].low_value, buckets[-1].high_value
    if high <= low:
        return (float(sum(b.sample_count for b in buckets)),)
    bars, width = [0.0] * _BARS, (high - low) / _BARS
    for bucket in buckets:
        first, last = (bucket.low_value - low) / width, (bucket.high_value - low) / width
        begin = min(int(first), _BARS - 1)
        for i in range(begin, _BARS):
            covered = min(last, i + 1) - max(first, i)
            if covered <= 0 and i > begin:
                break
            share = covered / (last - first) if last > first else 1.0
            bars[i] += bucket.sample_count * max(share, 0.0)
    return tuple(bars)


def _anomalies(split: str, message: Any) -> Iterator[list[Cell]]:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    if message.data_missing:
        yield [Cell("–"), Cell(split), Cell("no data", flag="bad"), Cell("ERROR"), Cell("")]
    for name, info in sorted(message.anomaly_info.items()):
        severity = anomalies_pb2.AnomalyInfo.Severity.Name(info.severity)
        flag = "bad" if severity == "ERROR" else ""
        yield [Cell(name), Cell(split), Cell(info.short_description, flag=flag), Cell(severity), Cell(info.description)]
    if message.HasField("dataset_anomaly_info"):
        info = message.dataset_anomaly_info
        yield [
            Cell("whole data set"),
            Cell(split),
            Cell(info.short_description, flag="bad"),
            Cell(""),
            Cell(info.description),
        ]


def _distances(split: str, message: Any) -> Iterator[list[Cell]]:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    for info in message.drift_skew_info:
        for kind, measurements in (("drift", info.drift_measurements), ("skew", info.skew_measurements)):
            for m in measurements:
                measure = anomalies_pb2.DriftSkewInfo.Measurement.Type.Name(m.type).lower().replace("_", " ")
                within = m.value <= m.threshold
                cells = [Cell(".".join(info.path.step)), Cell(f"{kind}: {split}"), Cell(measure), number(m.value)]
                yield [*cells, number(m.threshold), Cell("yes" if within else "no", flag="" if within else "bad")]
