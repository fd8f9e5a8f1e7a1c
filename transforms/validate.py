"""`validate`: statistics held to a schema, and to the statistics of other data."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from engine.core.errors import ConfigError, listed
from engine.storage.destination import Destination
from transforms.validation.anomalies import DATASET, Reason, anomalies_proto, anomalies_text
from transforms.validation.comparison import check_thresholds, compare
from transforms.validation.feature_checks import feature_reasons, in_environment, is_checked, is_required
from transforms.validation.feature_view import dataset_of, is_weighted, views
from transforms.validation.files import ANOMALIES, load_statistics, write_anomalies
from transforms.validation.infer import infer_schema
from transforms.validation.schema_file import as_schema, environments

__all__ = ["ValidationReport", "validate"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """What a validation found.

    Attributes:
        anomalies: `tensorflow_metadata.proto.v0.anomalies_pb2.Anomalies`, with all distances that were measured.
        reasons: (feature or "", type, description) of each anomaly.
        text: for people.
        records: in the data that were judged.
        path: directory that was written, or None.
    """

    anomalies: Any
    reasons: tuple[tuple[str, str, str], ...]
    text: str
    records: int
    path: str | None

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.reasons


def validate(
    statistics: Any,
    schema: Any = None,
    *,
    against: Any = None,
    serving: Any = None,
    drift: Mapping[str, float] | None = None,
    skew: Mapping[str, float] | None = None,
    environment: str | None = None,
    ignore: Collection[str] = (),
    against_name: str = "the earlier data",
    comparators: bool = True,
    out: str | os.PathLike[str] | None = None,
) -> ValidationReport:
    """Returns what is wrong with data, by their statistics.

    Args:
        statistics: `StatisticsReport`, DatasetFeatureStatisticsList, or the path of one; its first data set is judged.
        schema: Schema message or path that the data are held to; None holds them to none.
        against: statistics, in any of these forms, of earlier data, for drift.
        serving: statistics of what is asked of the model, for skew.
        drift: most distance by feature from `against`, in place of the schema's drift_comparator; "*" for every feature of both.
        skew: the same from `serving`, in place of the schema's skew_comparator.
        environment: of the schema, such as "SERVING": features that are not in it are not expected.
        ignore: features that the schema need not have, and that may be missing.
        against_name: what `against` is, for messages.
        comparators: whether the schema's own comparators count, beside `drift` and `skew`.
        out: directory to write the anomalies to, local or a URI.

    Raises:
        ConfigError: a threshold, schema or path that cannot be.
        DataError: a file that holds neither statistics nor a schema.
    """
    for name, thresholds in (("drift", drift), ("skew", skew)):
        check_thresholds(name, thresholds or {})
    destination = None if out is None else Destination(out, ANOMALIES)
    if destination is not None:
        destination.check()
    now = _statistics(statistics)
    held = infer_schema(now) if schema is None else as_schema(schema)
    if environment is not None and environment not in environments(held):
        known = listed(sorted(environments(held))) or "none"
        raise ConfigError(f"environment: {environment!r} is not in the schema; its environments are {known}")
    if environment is not None and environment not in held.default_environment:
        known = listed(held.default_environment) or "none"
        raise ConfigError(
            f"environment: {environment!r} is none of the schema's default_environment ({known}), so that only features that name it are "
            f"in it; add default_environment: {environment!r}, or validate without an environment"
        )
    reasons = list(_schema_reasons(held, dataset_of(now), environment, ignore)) if schema is not None else []
    judged = held if comparators else _without_comparators(held)
    found = []
    if against is not None:
        found.append(compare(judged, now, _statistics(against), "drift", drift or {}, against_name))
    if serving is not None:
        found.append(compare(judged, now, _statistics(serving), "skew", skew or {}, "the serving data"))
    reasons += [reason for each in found for reason in each.reasons]
    distances = [distance for each in found for distance in each.distances]
    anomalies = anomalies_proto(held, reasons, distances)
    records = dataset_of(now).num_examples
    anomalies.data_missing = not records
    text = anomalies_text(anomalies, records)
    if destination is not None:
        write_anomalies(destination, anomalies, text)
    return ValidationReport(
        anomalies=anomalies,
        reasons=tuple((each.feature, each.kind, each.text) for each in reasons),
        text=text,
        records=records,
        path=None if destination is None else destination.path,
    )


def _without_comparators(schema: Any) -> Any:
    plain = type(schema)()
    plain.CopyFrom(schema)
    plain.ClearField("dataset_constraints")
    for feature in plain.feature:
        feature.ClearField("drift_comparator")
        feature.ClearField("skew_comparator")
    return plain


def _statistics(value: Any) -> Any:
    if isinstance(value, str | os.PathLike):
        return load_statistics(os.fspath(value))
    return getattr(value, "statistics", value)


def _schema_reasons(schema: Any, dataset: Any, environment: str | None, ignore: Collection[str]) -> Iterator[Reason]:
    yield from _dataset_reasons(schema, dataset)
    if not dataset.num_examples:
        return
    found = {view.name: view for view in views(dataset, is_weighted(dataset))}
    features = {feature.name: feature for feature in schema.feature}
    for name, feature in features.items():
        if not is_checked(feature):
            continue
        here = in_environment(schema, feature, environment)
        if name in found:
            if not here and name not in ignore:
                text = f"The schema has no such column in the environment {environment!r}."
                yield Reason(name, "SCHEMA_NEW_COLUMN", "New column", text)
            yield from feature_reasons(schema, feature, found[name])
        elif here and is_required(feature) and name not in ignore:
            yield Reason(
                name, "SCHEMA_MISSING_COLUMN", "Missing column", "The data have no such column, which is required."
            )
    for name in found:
        if name not in features and name not in ignore:
            yield Reason(name, "SCHEMA_NEW_COLUMN", "New column", "The schema has no such column.")


def _dataset_reasons(schema: Any, dataset: Any) -> Iterator[Reason]:
    wanted, count = schema.dataset_constraints, dataset.num_examples
    if not count:
        yield Reason(DATASET, "NO_DATA_IN_SPAN", "No data", "There are no records.")
    if count < wanted.min_examples_count:
        text = f"{count:,} records; at least {wanted.min_examples_count:,} are expected."
        yield Reason(DATASET, "DATASET_LOW_NUM_EXAMPLES", "Too few records", text)
    if wanted.HasField("max_examples_count") and count > wanted.max_examples_count:
        text = f"{count:,} records; at most {wanted.max_examples_count:,} are expected."
        yield Reason(DATASET, "DATASET_HIGH_NUM_EXAMPLES", "Too many records", text)
