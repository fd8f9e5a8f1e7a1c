"""validate: data held to a schema and to other data, by their statistics; what differs too much is refused."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from engine.core.configs import check_types

if TYPE_CHECKING:
    from engine import Dataset
    from transforms.validate import ValidationReport

__all__ = ["ValidateConfig", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidateConfig:
    """What data are held to; anomalies refuse them.

    Attributes:
        schema: path of a schema.pbtxt or .pb; empty for none.
        environment: of the schema, e.g. "TRAINING": features that are not in it are not expected; empty for all.
        drift: feature → most distance from earlier data, e.g. {carrier = 0.01}, "*" for every feature; in place of the schema's
            drift_comparator.
        split_drift: the same between train and eval, in a pipeline; empty for no comparison.
        skew: the same between train and what is asked of the model, in place of the schema's skew_comparator.
        serving: examples recorded by `fullpass serve --record`, or statistics of them; empty for none.
        against: earlier statistics or data; empty for none, in a pipeline for those of its last blessed run.
    """

    schema: str = ""
    environment: str = ""
    drift: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    split_drift: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    skew: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    serving: str = ""
    against: str = ""

    def __post_init__(self) -> None:
        from transforms.validation.comparison import check_thresholds

        check_types(self)
        for name in ("drift", "split_drift", "skew"):
            check_thresholds(name, getattr(self, name))


def run(
    config: ValidateConfig,
    data: Dataset | str | Any,
    out: str | os.PathLike[str] | None = None,
    *,
    serving: Any = None,
    ignore: Collection[str] = (),
    against_name: str = "",
    comparators: bool = True,
) -> ValidationReport:
    """Returns what is wrong with the data.

    Args:
        config: settings.
        data: a data set, of which statistics are taken; or statistics, or the path of either.
        out: directory of the anomalies, local or a URI; None writes nothing.
        serving: statistics, in place of those of `config.serving`.
        ignore: features that the schema need not have, and that may be missing.
        against_name: what `config.against` is, for messages; empty takes its path.
        comparators: whether the schema's own drift and skew comparators count.

    Raises:
        ConfigError: a schema, threshold or path that cannot be.
        DataError: bad data.
    """
    from transforms import validate

    schema = config.schema or None
    return validate(
        statistics_of(data, schema),
        schema,
        against=statistics_of(config.against, schema) if config.against else None,
        serving=statistics_of(config.serving, schema) if config.serving else serving,
        drift=config.drift,
        skew=config.skew,
        environment=config.environment or None,
        ignore=ignore,
        against_name=against_name or config.against,
        comparators=comparators,
        out=out,
    )


def statistics_of(data: Any, schema: str | None) -> Any:
    """Returns the statistics of a data set, or those that are given, by themselves or by their path.

    A directory that holds FeatureStats.pb, a .pb or .pbtxt, and FeatureStats.json are statistics; anything else is data. What the server
    adds to a recorded example (served.*) is left out.
    """
    from engine import Dataset
    from transforms import statistics
    from transforms.validation.files import is_statistics, load_statistics

    if isinstance(data, str):
        if is_statistics(data):
            return load_statistics(data)
        data = Dataset.open(data)
    if not isinstance(data, Dataset):
        return data
    features = [name for name in data.schema.names if not name.startswith("served.")]
    return statistics(data, schema=schema, features=features).statistics
