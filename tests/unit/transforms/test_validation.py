"""Schemas, anomalies and distances: against scipy, pandas, values worked by hand, and what TFDV infers of the same data."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import text_format
from scipy.spatial.distance import jensenshannon
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from cluster.cli.main import main
from engine import ConfigError, DataError, Dataset
from tests.support.nycflights import flights
from transforms import statistics, validate
from transforms.validation.distances import (
    jensen_shannon,
    jensen_shannon_of_histograms,
    l_infinity,
    normalized_difference,
)
from transforms.validation.files import is_statistics


def stats_of(table: pa.Table, path: Path, **options: Any) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return statistics(str(path), **options)


def histogram(*buckets: tuple[float, float, float], nan: float = 0) -> Any:
    found = statistics_pb2.Histogram(num_nan=int(nan))
    for low, high, count in buckets:
        found.buckets.add(low_value=low, high_value=high, sample_count=count)
    return found


def test_distances_worked_by_hand():
    # shares 3/4, 1/4, 0 and 1/4, 1/4, 1/2
    first, second = {"a": 3, "b": 1}, {"a": 1, "b": 1, "c": 2}
    assert l_infinity(first, second) == (0.5, "c")  # a and c both; the last name counts
    assert normalized_difference(first, second) == (0.25, "c")
    assert jensen_shannon(first, second) == pytest.approx(jensenshannon([3, 1, 0], [1, 1, 2], base=2) ** 2)
    assert jensen_shannon(first, first) == 0 and jensen_shannon({"a": 1}, {"b": 5}) == 1
    # Cut at 0, 1, 2, 3: shares 1/2, 1/2, 0 and 0, 1/2, 1/2; each is half a bit from their middle.
    assert jensen_shannon_of_histograms(histogram((0, 2, 4)), histogram((1, 3, 8))) == pytest.approx(0.5)
    # Half is NaN in the one, which matches nothing: shares 1/2, 1/2, 0 and 1, 0, 0.
    whole = jensen_shannon_of_histograms(histogram((0, 1, 2), nan=2), histogram((0, 1, 4)))
    assert whole == pytest.approx(jensenshannon([0.5, 0.5], [1, 0], base=2) ** 2)
    infinite = math.inf
    both = jensen_shannon_of_histograms(histogram((infinite, infinite, 1)), histogram((infinite, infinite, 1)))
    assert both == 1  # as in TFDV
    points = jensen_shannon_of_histograms(histogram((7, 7, 3)), histogram((7, 7, 1), (8, 8, 1)))
    assert points == pytest.approx(jensenshannon([1, 0], [0.5, 0.5], base=2) ** 2)
    assert jensen_shannon_of_histograms(histogram(), histogram((0, 1, 1))) is None
    huge = histogram((-1.5e308, 1.5e308, 4))  # its width is no float
    assert jensen_shannon_of_histograms(huge, huge) == 0
    assert jensen_shannon_of_histograms(huge, histogram((0, 1.5e308, 7))) == pytest.approx(
        jensenshannon([0.5, 0.5], [0, 1], base=2) ** 2
    )


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(frame, statistics, file) of the flights of January and July."""
    frame, root = flights(), tmp_path_factory.mktemp("months")
    found = []
    for month in (1, 7):
        part = frame[frame.month == month]
        path = root / f"{month}" / "f.parquet"
        found.append((part, stats_of(pa.Table.from_pandas(part, preserve_index=False), path), path))
    return found


def divergence(first: Any, second: Any) -> float:
    """Jensen-Shannon by scipy, of 10 buckets each, cut at the bounds of both as if values were even within a bucket."""
    ends, shares = [], []
    for values in (first, second):
        counts, edges = np.histogram(values, 10)
        ends.append(edges)
        shares.append(np.concatenate([[0], np.cumsum(counts)]) / len(values))
    both = np.unique(np.concatenate(ends))
    p, q = (np.diff(np.interp(both, edges, share)) for edges, share in zip(ends, shares))
    return float(jensenshannon(p, q, base=2) ** 2)


def test_january_and_july_raise_the_features_that_differ(months):
    (january, earlier, _), (july, later, _) = months
    report = validate(later, against=earlier, drift={"*": 0.05, "carrier": 0.005, "origin": 0.02})
    found = {info.path.step[0]: info.drift_measurements[0] for info in report.anomalies.drift_skew_info}
    for name in ("dep_delay", "arr_delay", "air_time", "distance", "hour", "sched_dep_time"):
        assert found[name].value == pytest.approx(divergence(january[name].dropna(), july[name].dropna()), rel=1e-9)
    for name in ("carrier", "origin", "dest"):
        shares = [part[name].value_counts(normalize=True) for part in (january, july)]
        difference = shares[0].sub(shares[1], fill_value=0).abs()
        assert found[name].value == pytest.approx(difference.max(), rel=1e-9)
    raised = {name: kind for name, kind, _ in report.reasons}
    assert raised == {
        "month": "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH",
        "dep_delay": "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH",
        "arr_delay": "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH",
        "carrier": "COMPARATOR_L_INFTY_HIGH",
    }
    assert found["month"].value == 1  # nothing in common
    shares = [part.carrier.value_counts(normalize=True) for part in (january, july)]
    most = shares[0].sub(shares[1], fill_value=0).abs().idxmax()
    said = next(text for name, _, text in report.reasons if name == "carrier")
    assert f"the value that differs most is {most!r}" in said
    assert report.anomalies.anomaly_info["carrier"].severity == anomalies_pb2.AnomalyInfo.ERROR


def test_the_same_data_have_no_distance_and_fit_their_own_schema(months):
    (_, earlier, _), _ = months
    report = validate(earlier, earlier.schema, against=earlier, drift={"*": 0.0})
    assert report.ok and {m.value for info in report.anomalies.drift_skew_info for m in info.drift_measurements} == {
        0.0
    }


def test_what_neither_has_a_value_of_has_not_changed(tmp_path):
    columns = {
        "n": pa.nulls(9, pa.float64()),
        "s": pa.nulls(9, pa.string()),
        "l": pa.array([[]] * 9, pa.list_(pa.int64())),
    }
    empty = stats_of(pa.table({**columns, "x": [1.0] * 9}), tmp_path / "empty.parquet")
    assert validate(empty, against=empty, drift={"*": 0.1}).ok
    filled = stats_of(pa.table({**columns, "s": ["a"] * 9, "x": [1.0] * 9}), tmp_path / "filled.parquet")
    for now, before, kind in ((filled, empty, "CONTROL"), (empty, filled, "TREATMENT")):
        (reason,) = validate(now, against=before, drift={"*": 0.1}).reasons
        assert reason[:2] == ("s", f"COMPARATOR_{kind}_DATA_MISSING")
    (named,) = validate(empty, against=empty, drift={"n": 0.1}).reasons  # asked for by name it is said
    assert named[:2] == ("n", "COMPARATOR_CONTROL_DATA_MISSING")


SMALL = {
    "o": pa.array([0, 1, 1, 0, 1]),
    "a": pa.array([1, 2, 3, 0, 7]),
    "s": pa.array(["x", "y", "x", None, "zz"]),
    "f": pa.array([1.5, math.nan, 2.5, math.inf, -1.0]),
    "b": pa.array([b"\xff\xfe", b"ok", b"\xff", b"u", None]),
    "l": pa.array([[1, 2], [], None, [3], [4, 5, 6]]),
}
# What TFDV 1.16 infers of the same values.
INFERRED = """
feature { name: "o" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } bool_domain { } }
feature { name: "a" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
feature { name: "s" type: BYTES domain: "s" presence { min_count: 1 } value_count { min: 1 max: 1 } }
feature { name: "f" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
feature { name: "b" type: BYTES presence { min_count: 1 } value_count { min: 1 max: 1 } }
feature { name: "l" type: INT presence { min_count: 1 } }
string_domain { name: "s" value: "x" value: "y" value: "zz" }
"""


def schema_of(text: str) -> Any:
    return text_format.Parse(text, schema_pb2.Schema())


def test_inferred_schema_is_that_of_tfdv(tmp_path):
    assert stats_of(pa.table(SMALL), tmp_path / "a.parquet").schema == schema_of(INFERRED)


FEATURES = {
    "SCHEMA_MISSING_COLUMN": ('name: "gone" type: INT presence { min_count: 1 }', "gone", "no such column"),
    "UNEXPECTED_DATA_TYPE": ('name: "a" type: FLOAT', "a", "Expected type FLOAT, found INT"),
    "FEATURE_TYPE_LOW_FRACTION_PRESENT": (
        'name: "s" type: BYTES presence { min_fraction: 0.9 }',
        "s",
        "80.0000% of the records have it (4 of 5); at least 90.0000% must.",
    ),
    "FEATURE_TYPE_LOW_NUMBER_PRESENT": ('name: "s" type: BYTES presence { min_count: 5 }', "s", "4 records have it"),
    "FEATURE_TYPE_LOW_NUMBER_VALUES": ('name: "l" type: INT value_count { min: 1 }', "l", "Some record has 0 values"),
    "FEATURE_TYPE_HIGH_NUMBER_VALUES": ('name: "l" type: INT value_count { max: 2 }', "l", "at most 2"),
    "INVALID_FEATURE_SHAPE": ('name: "a" type: INT shape { dim { size: 2 } }', "a", "the shape takes 2 each"),
    "ENUM_TYPE_UNEXPECTED_STRING_VALUES": (
        'name: "s" type: BYTES string_domain { value: "x" }',
        "s",
        "'y' (25.0000%), 'zz' (25.0000%); 50.0000% in all, 0.0000% allowed.",
    ),
    "INT_TYPE_SMALL_INT": ('name: "a" type: INT int_domain { min: 1 }', "a", "The least value is 0"),
    "INT_TYPE_BIG_INT": ('name: "a" type: INT int_domain { max: 6 }', "a", "The largest value is 7"),
    "INT_TYPE_NOT_INT_STRING": ('name: "s" type: BYTES int_domain { }', "s", "'x'"),
    "FLOAT_TYPE_SMALL_FLOAT": ('name: "f" type: FLOAT float_domain { min: 0 }', "f", "-1"),
    "FLOAT_TYPE_BIG_FLOAT": ('name: "f" type: FLOAT float_domain { max: 9 }', "f", "inf"),
    "FLOAT_TYPE_HAS_NAN": ('name: "f" type: FLOAT float_domain { disallow_nan: true }', "f", "1 values are NaN"),
    "FLOAT_TYPE_HAS_INF": ('name: "f" type: FLOAT float_domain { disallow_inf: true }', "f", "-1 to inf"),
    "BOOL_TYPE_BIG_INT": ('name: "a" type: INT bool_domain { }', "a", "7"),
    "FEATURE_TYPE_LOW_UNIQUE": ('name: "s" type: BYTES unique_constraints { min: 4 max: 9 }', "s", "3 distinct values"),
    "FEATURE_TYPE_HIGH_UNIQUE": ('name: "s" type: BYTES unique_constraints { min: 1 max: 2 }', "s", "at most 2"),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return stats_of(pa.table(SMALL), tmp_path_factory.mktemp("small") / "a.parquet")


@pytest.mark.parametrize("kind", FEATURES)
def test_each_constraint_is_held(small, kind):
    text, name, said = FEATURES[kind]
    others = " ".join(f'feature {{ name: "{each}" }}' for each in SMALL if each != name)
    report = validate(small, schema_of(f"feature {{ {text} }} {others}"))
    (reason,) = report.reasons
    assert reason[:2] == (name, kind) and said in reason[2]
    assert report.anomalies.anomaly_info[name].reason[0].type == anomalies_pb2.AnomalyInfo.Type.Value(kind)


def test_domain_mass_new_columns_life_cycle_and_environments(small):
    known = schema_of(INFERRED)
    known.feature[2].distribution_constraints.min_domain_mass = 0.5
    del known.string_domain[0].value[1:]
    assert validate(small, known).ok  # x is half of the values
    del known.feature[5]
    assert validate(small, known).reasons == (("l", "SCHEMA_NEW_COLUMN", "The schema has no such column."),)
    label = known.feature.add(name="label", type=schema_pb2.INT, not_in_environment=["SERVING"])
    label.presence.min_count = 1
    known.default_environment.extend(["TRAINING", "SERVING"])
    assert {name for name, _, _ in validate(small, known).reasons} == {"l", "label"}
    assert {name for name, _, _ in validate(small, known, environment="TRAINING").reasons} == {"l", "label"}
    assert {name for name, _, _ in validate(small, known, environment="SERVING").reasons} == {"l"}
    with pytest.raises(ConfigError, match="'SERVIN' is not in the schema; its environments are SERVING, TRAINING"):
        validate(small, known, environment="SERVIN")
    label.in_environment.append("ELSEWHERE")
    with pytest.raises(
        ConfigError, match=r"'ELSEWHERE' is none of the schema's default_environment \(TRAINING, SERVING\)"
    ):
        validate(small, known, environment="ELSEWHERE")
    known.feature[0].not_in_environment.append("SERVING")  # it is there
    serving = validate(small, known, environment="SERVING").reasons
    assert {(name, kind) for name, kind, _ in serving} == {("l", "SCHEMA_NEW_COLUMN"), ("o", "SCHEMA_NEW_COLUMN")}
    assert validate(small, known, environment="SERVING", ignore=["o", "l"]).ok
    label.lifecycle_stage = schema_pb2.LifecycleStage.PLANNED
    assert {name for name, _, _ in validate(small, known).reasons} == {"l"}


MORE = {
    "half": pa.array([0.0, 0.5, 1.0, 0.0] * 5),
    "yes": pa.array([0.0, 1.0, 1.0, 0.0] * 5),
    "nan": pa.array([1.0, math.nan, 0.0, 0.0] * 5),
    "seldom": pa.array([1, None, 2, 3] * 5),
    "raw": pa.array([b"\xff", b"ok", b"ok", b"ok"] * 5, pa.binary()),
    "number": pa.array(["nan", "2.5", "-inf", "1e3"] * 5),
    "digits": pa.array(["1_0", "7", "+8", " 9 "] * 5),
    "weight": pa.array([1.0, 9.0, 1.0, 1.0] * 5),
}
# Of the same data TFDV 1.17 finds these, of each line alone.
FOUND: dict[str, set[str]] = {
    'name: "half" type: FLOAT bool_domain { }': {"BOOL_TYPE_UNEXPECTED_FLOAT"},
    'name: "yes" type: FLOAT bool_domain { }': set(),
    'name: "nan" type: FLOAT bool_domain { }': {"BOOL_TYPE_UNEXPECTED_FLOAT"},
    'name: "seldom" type: INT shape { dim { size: 1 } }': {"INVALID_FEATURE_SHAPE"},
    'name: "raw" type: BYTES string_domain { value: "ok" } distribution_constraints { min_domain_mass: 0.5 }': {
        "ENUM_TYPE_INVALID_UTF8"
    },
    'name: "number" type: BYTES float_domain { max: 5 disallow_nan: true disallow_inf: true }': {
        "FLOAT_TYPE_BIG_FLOAT",
        "FLOAT_TYPE_HAS_NAN",
        "FLOAT_TYPE_HAS_INF",
    },
    'name: "digits" type: BYTES int_domain { max: 9 }': {"INT_TYPE_NOT_INT_STRING"},
    'name: "digits" type: BYTES float_domain { max: 9 }': {"FLOAT_TYPE_STRING_NOT_FLOAT"},
    'name: "half" type: FLOAT int_domain { }': {"DOMAIN_INVALID_FOR_TYPE"},
    'name: "seldom" type: INT float_domain { }': {"DOMAIN_INVALID_FOR_TYPE"},
    'name: "seldom" type: INT string_domain { }': {"DOMAIN_INVALID_FOR_TYPE"},
}


def test_what_tfdv_finds_is_found(tmp_path):
    stats = stats_of(pa.table(MORE), tmp_path / "more.parquet")
    for text, kinds in FOUND.items():
        others = " ".join(f'feature {{ name: "{each}" }}' for each in MORE if f'"{each}"' not in text)
        found = validate(stats, schema_of(f"feature {{ {text} }} {others}"))
        assert {kind for _, kind, _ in found.reasons} == kinds, (text, found.text)


def test_shares_are_those_of_the_weights_where_there_are_any(tmp_path):
    table = pa.table(MORE)
    plain, heavy = stats_of(table, tmp_path / "a.parquet"), stats_of(table, tmp_path / "b.parquet", weight="weight")
    text = 'feature { name: "seldom" type: INT presence { min_fraction: 0.7 } } '
    text += 'feature { name: "digits" string_domain { value: "7" } distribution_constraints { min_domain_mass: 0.7 } '
    text += "drift_comparator { infinity_norm { threshold: 0.4 } jensen_shannon_divergence { } } } "
    text += " ".join(f'feature {{ name: "{each}" }}' for each in MORE if each not in ("seldom", "digits"))
    other = stats_of(table.slice(0, 1), tmp_path / "c.parquet", weight="weight")
    kinds = {
        name: {kind for _, kind, _ in validate(each, schema_of(text), against=other).reasons}
        for name, each in (("plain", plain), ("heavy", heavy))
    }
    assert kinds == {
        "plain": {"ENUM_TYPE_UNEXPECTED_STRING_VALUES", "COMPARATOR_L_INFTY_HIGH"},
        "heavy": {"FEATURE_TYPE_LOW_FRACTION_PRESENT", "COMPARATOR_L_INFTY_HIGH"},
    }
    (measured,) = validate(heavy, schema_of(text), against=other).anomalies.drift_skew_info[0].drift_measurements
    assert measured.value == pytest.approx(1 - 1 / 12)  # 1_0 is all of the other, and one twelfth of the weight here


def test_whole_data_sets(small, tmp_path):
    schema = schema_of(INFERRED + "dataset_constraints { min_examples_count: 6 }")
    assert validate(small, schema).reasons[0][:2] == ("", "DATASET_LOW_NUM_EXAMPLES")
    nothing = stats_of(pa.table(SMALL).slice(0, 0), tmp_path / "a.parquet")
    report = validate(nothing, schema_of(INFERRED))
    assert report.reasons == (("", "NO_DATA_IN_SPAN", "There are no records."),) and report.anomalies.data_missing
    missing = pa.table({**SMALL, "a": pa.nulls(5, pa.int64())})
    kinds = {kind for _, kind, _ in validate(stats_of(missing, tmp_path / "b.parquet"), schema_of(INFERRED)).reasons}
    assert kinds == {"FEATURE_TYPE_NOT_PRESENT"}


def test_comparators_of_the_schema_and_what_cannot_be_compared(small, tmp_path):
    other = stats_of(
        pa.table({**SMALL, "s": pa.array(["x"] * 5), "f": pa.nulls(5, pa.float64())}), tmp_path / "a.parquet"
    )
    schema = schema_of(INFERRED)
    schema.feature[2].drift_comparator.infinity_norm.threshold = 0.1
    schema.feature[2].skew_comparator.jensen_shannon_divergence.threshold = 0.1
    schema.feature[3].drift_comparator.jensen_shannon_divergence.threshold = 0.1
    report = validate(small, schema, against=other, serving=other)
    kinds = [(name, kind) for name, kind, _ in report.reasons]
    assert kinds == [
        ("f", "COMPARATOR_CONTROL_DATA_MISSING"),
        ("s", "COMPARATOR_L_INFTY_HIGH"),
        ("s", "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH"),
    ]
    values = [each.value for info in report.anomalies.drift_skew_info for each in info.skew_measurements]
    assert values == [pytest.approx(jensenshannon([2, 1, 1], [5, 0, 0], base=2) ** 2)]
    assert validate(small, schema, against=other, drift={"s": 0.6, "f": 1.0}, comparators=False).reasons[0][0] == "f"
    with pytest.raises(ConfigError, match="drift: feature 'z' not found"):
        validate(small, against=other, drift={"z": 0.1})
    with pytest.raises(ConfigError, match="skew: s=1.5; a distance is a number from 0 to 1".replace(".", r"\.")):
        validate(small, serving=other, skew={"s": 1.5})


def test_categories_and_media_by_the_schema(tmp_path):
    table = pa.table({"code": [5, 5, 7], "image": [b"\x89PNG", b"\x89PNG2", b""]})
    text = """feature { name: "code" type: INT int_domain { is_categorical: true } }
    feature { name: "image" type: BYTES image_domain { } }"""
    found = stats_of(table, tmp_path / "a.parquet", schema=schema_of(text)).statistics.datasets[0].features
    assert [(each.value, each.frequency) for each in found[0].string_stats.top_values] == [("5", 2), ("7", 1)]
    assert statistics_pb2.FeatureNameStatistics.Type.Name(found[0].type) == "INT"
    assert (found[1].bytes_stats.unique, found[1].bytes_stats.max_num_bytes_int) == (3, 5)
    assert validate(statistics(Dataset.open(str(tmp_path / "a.parquet")), schema=schema_of(text)), schema_of(text)).ok


def test_commands(months, tmp_path, capsys):
    (_, _, january), (_, _, july) = months
    assert main(["stats", str(january), "--out", str(tmp_path / "january"), "-q"]) == 0
    assert "16" in capsys.readouterr().out  # carriers
    assert {each.name for each in (tmp_path / "january").iterdir()} == {
        "FeatureStats.pb",
        "FeatureStats.pbtxt",
        "FeatureStats.json",
        "schema.pbtxt",
    }
    assert main(["stats", str(january), "--json", "-q"]) == 0
    assert capsys.readouterr().out == (tmp_path / "january" / "FeatureStats.json").read_text()
    schema = str(tmp_path / "january" / "schema.pbtxt")
    assert main(["validate", str(january), "--schema", schema, "-q"]) == 0
    capsys.readouterr()
    words = ["--against", str(tmp_path / "january"), "--drift", "carrier=0.005", "--out", str(tmp_path / "found"), "-q"]
    assert main(["validate", str(july), "--schema", schema, *words]) == 3
    said = capsys.readouterr().out
    assert "carrier: l infty from" in said and "dest: Values that the domain does not have: 'ACK'" in said
    assert (tmp_path / "found" / "anomalies.txt").read_text() == said.rpartition("written to")[0]
    found = anomalies_pb2.Anomalies.FromString((tmp_path / "found" / "SchemaDiff.pb").read_bytes())
    assert {"carrier", "dest"} <= set(found.anomaly_info)
    assert set(json.loads((tmp_path / "found" / "SchemaDiff.json").read_text())["anomaly_info"]) == set(
        found.anomaly_info
    )
    assert main(["validate", str(july), "--schema", schema, *words, "--json"]) == 3
    assert capsys.readouterr().out == (tmp_path / "found" / "SchemaDiff.json").read_text()
    assert main(["validate", str(july), "--drift", "carrier=0.1", "-q"]) == 2
    assert "--drift needs the other data; name them with --against" in capsys.readouterr().err
    assert main(["validate", str(july), "-q"]) == 2


def test_files_that_are_none(tmp_path):
    (tmp_path / "a.pb").write_bytes(b"\xff\xff\xff")
    with pytest.raises(DataError, match="holds no DatasetFeatureStatisticsList"):
        validate(str(tmp_path / "a.pb"))
    assert not is_statistics(str(tmp_path / "lines.json")) and not is_statistics(str(tmp_path))
    assert is_statistics("s3://bucket/FeatureStats.json") and is_statistics("a.pbtxt")
    with pytest.raises(ConfigError, match="no statistics are there"):
        validate(str(tmp_path / "b.pb"))
    with pytest.raises(ConfigError, match=r"schema: .*c\.pbtxt not found"):
        validate(statistics_pb2.DatasetFeatureStatisticsList(), str(tmp_path / "c.pbtxt"))
