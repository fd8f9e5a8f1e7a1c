"""Statistics of a data set against pandas, numpy and pyarrow on the same rows, and over any cut of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import statistics_pb2

from engine import ConfigError, DataError, Dataset
from tests.support.nycflights import flights
from transforms import statistics
from transforms.profiling.proto import statistics_proto
from transforms.profiling.statistics_pass import StatisticsPass
from transforms.validation.files import load_statistics

STANDARD, QUANTILES = statistics_pb2.Histogram.STANDARD, statistics_pb2.Histogram.QUANTILES


@pytest.fixture(scope="module")
def frame() -> Any:
    return flights()


@pytest.fixture(scope="module")
def flown(frame: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Statistics of all flights, from shards, by carrier and by origin and month."""
    root = tmp_path_factory.mktemp("flights")
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for index, start in enumerate(range(0, len(table), 90_000)):
        pq.write_table(table.slice(start, 90_000), root / f"{index}.parquet", row_group_size=30_000)
    report = statistics(
        Dataset.open(str(root)), root / "stats", slices=["carrier", ("origin", "month")], target_split_bytes=1 << 19
    )
    assert report.records == len(frame)
    return report


def features_of(dataset: Any) -> dict[str, Any]:
    return {each.path.step[0]: each for each in dataset.features}


def dataset_named(report: Any, name: str) -> Any:
    (found,) = (each for each in report.statistics.datasets if each.name == name)
    return found


def histogram_of(stats: Any, kind: int) -> Any:
    (found,) = (each for each in stats.histograms if each.type == kind)
    return found


def check_numbers(feature: Any, column: Any) -> None:
    stats, values = feature.num_stats, column.dropna().to_numpy()
    assert (stats.common_stats.num_non_missing, stats.common_stats.num_missing) == (len(values), column.isna().sum())
    assert stats.mean == pytest.approx(values.mean(), rel=1e-12)
    assert stats.std_dev == pytest.approx(values.std(), rel=1e-9)
    assert (stats.min, stats.max, stats.num_zeros) == (values.min(), values.max(), (values == 0).sum())
    ordered = np.sort(values)
    assert stats.median == ordered[len(ordered) // 2]
    ends = [bucket.low_value for bucket in histogram_of(stats, QUANTILES).buckets]
    assert ends == [ordered[len(ordered) * index // 10] for index in range(10)]
    if values.min() < values.max():
        buckets = histogram_of(stats, STANDARD).buckets
        counts, edges = np.histogram(values.astype(np.float64), 10)
        assert [bucket.low_value for bucket in buckets] == pytest.approx(edges[:-1])
        assert [bucket.sample_count for bucket in buckets] == counts.tolist()


def check_texts(feature: Any, column: Any) -> None:
    stats, values = feature.string_stats, column.dropna()
    assert (stats.common_stats.num_non_missing, stats.common_stats.num_missing) == (len(values), column.isna().sum())
    assert stats.unique == values.nunique()
    assert stats.avg_length == pytest.approx(pc.mean(pc.binary_length(pa.array(values))).as_py())
    counted = sorted(values.value_counts().items(), key=lambda each: (-each[1], each[0]))
    assert [(each.value, each.frequency) for each in stats.top_values] == counted[:20]
    assert [(each.label, each.sample_count) for each in stats.rank_histogram.buckets] == counted[:1000]


def check(dataset: Any, frame: Any) -> None:
    assert dataset.num_examples == len(frame)
    for name, feature in features_of(dataset).items():
        (check_texts if frame[name].dtype == object else check_numbers)(feature, frame[name])


def test_flights_equal_pandas(flown, frame):
    check(dataset_named(flown, "All Examples"), frame)


def test_slices_equal_pandas(flown, frame):
    names = [each.name for each in flown.statistics.datasets]
    assert names[0] == "All Examples" and len(names) == 1 + 16 + 36
    check(dataset_named(flown, "carrier_OO"), frame[frame.carrier == "OO"])
    check(dataset_named(flown, "carrier_UA"), frame[frame.carrier == "UA"])
    check(dataset_named(flown, "origin_LGA_month_7"), frame[(frame.origin == "LGA") & (frame.month == 7)])


def test_files_hold_the_same_in_three_forms(flown):
    for name in ("", "/FeatureStats.pb", "/FeatureStats.pbtxt", "/FeatureStats.json"):
        assert load_statistics(f"{flown.path}{name}") == flown.statistics


def odd_table() -> pa.Table:
    return pa.table(
        {
            "number": pa.array([1.5, math.nan, None, math.inf, -1.0, -math.inf, 0.0, -0.0]),
            "words": pa.array(["x", "ü", None, "", "x", "日本", "x", "ü"]),
            "bytes": pa.array([b"\xff\xfe", b"ok", None, b"\xff", b"ok", b"", b"\xff", b"y" * 5000]),
            "lists": pa.array([[1, 2], [], None, [3], [4, 5, 6], [], [0], [7]], pa.list_(pa.int64())),
            "holes": pa.array([[1.0, None], [], None, [None], [2.0], [3.0], [4.0], [5.0]]),
            "nested": pa.array([[[1], [2, 3]], [], None, [[]], [[4]], [None], [[5]], [[6, 7]]]),
            "constant": pa.array([7] * 8),
            "absent": pa.array([None] * 8, pa.float32()),
            "nothing": pa.nulls(8),
            "flag": pa.array([True, False, None, True, True, False, False, True]),
            "large": pa.array([2**63 - 1, -(2**63), 2**62, 0, 1, 2, 3, None]),
            "unsigned": pa.array([2**64 - 1, 0, 1, 2, 3, 4, 5, None], pa.uint64()),
            "when": pa.array([0, 1, 2, 3, 4, 5, 6, None], pa.timestamp("us")),
            "color": pa.array(["red", None, "red", "blue", "red", "red", "blue", "red"]).dictionary_encode(),
        }
    )


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("odd") / "a.parquet"
    pq.write_table(odd_table(), path)
    return features_of(statistics(Dataset.open(str(path))).statistics.datasets[0])


def test_not_finite_numbers_have_their_own_place(odd):
    stats = odd["number"].num_stats
    assert stats.mean == pytest.approx(np.mean([1.5, -1, 0, 0])) and stats.std_dev == pytest.approx(
        np.std([1.5, -1, 0, 0])
    )
    assert (stats.min, stats.max, stats.num_zeros) == (-math.inf, math.inf, 2)
    histogram = histogram_of(stats, STANDARD)
    assert histogram.num_nan == 1
    assert (histogram.buckets[0].high_value, histogram.buckets[0].sample_count) == (-math.inf, 1)
    assert (histogram.buckets[-1].low_value, histogram.buckets[-1].sample_count) == (math.inf, 1)
    assert sum(bucket.sample_count for bucket in histogram.buckets) == 6
    assert {each.name: each.num for each in odd["number"].custom_stats} == {"num_infinite": 2}


def test_texts_and_bytes(odd):
    words, raw = odd["words"].string_stats, odd["bytes"].string_stats
    assert [(each.value, each.frequency) for each in words.top_values] == [("x", 3), ("ü", 2), ("", 1), ("日本", 1)]
    assert words.avg_length == pytest.approx((1 + 2 + 0 + 1 + 6 + 1 + 2) / 7)
    assert (raw.unique, raw.invalid_utf8_count) == (5, 3)
    assert {each.value: each.frequency for each in raw.top_values} == {
        "__BYTES_VALUE__": 3,
        "ok": 2,
        "": 1,
        "__LARGE_BYTES__": 1,
    }
    assert [(each.label, each.sample_count) for each in odd["color"].string_stats.rank_histogram.buckets] == [
        ("red", 5),
        ("blue", 2),
    ]


def test_values_of_a_record_are_counted(odd):
    common = odd["lists"].num_stats.common_stats
    assert (common.num_non_missing, common.num_missing, common.tot_num_values) == (7, 1, 8)
    assert (common.min_num_values, common.max_num_values, common.avg_num_values) == (0, 3, pytest.approx(8 / 7))
    assert odd["lists"].num_stats.mean == np.mean([1, 2, 3, 4, 5, 6, 0, 7])
    holes = odd["holes"]
    assert holes.num_stats.common_stats.tot_num_values == 5 and holes.num_stats.mean == 3
    assert {each.name: each.num for each in holes.custom_stats} == {"num_nulls_inside_lists": 2}
    nested = odd["nested"].num_stats.common_stats
    assert (nested.tot_num_values, nested.max_num_values, nested.min_num_values) == (7, 3, 0)


def test_nothing_is_not_zero(odd):
    absent = odd["absent"].num_stats
    assert (absent.common_stats.num_missing, absent.common_stats.num_non_missing) == (8, 0)
    assert all(math.isnan(each) for each in (absent.mean, absent.std_dev, absent.min, absent.median, absent.max))
    assert odd["nothing"].string_stats.common_stats.num_missing == 8
    constant = odd["constant"].num_stats
    assert (constant.mean, constant.std_dev) == (7, 0)
    (bucket,) = histogram_of(constant, STANDARD).buckets
    assert (bucket.low_value, bucket.high_value, bucket.sample_count) == (7, 7, 8)


def test_whole_numbers_are_exact(odd):
    large = [2**63 - 1, -(2**63), 2**62, 0, 1, 2, 3]
    assert odd["large"].num_stats.mean == sum(large) / 7
    assert odd["large"].num_stats.std_dev == pytest.approx(
        math.sqrt(sum(v * v for v in large) / 7 - (sum(large) / 7) ** 2)
    )
    assert odd["unsigned"].num_stats.max == 2.0**64
    assert odd["flag"].num_stats.mean == 4 / 7 and odd["when"].num_stats.max == 6


def test_values_that_read_alike_have_slices_of_their_own(tmp_path):
    a = pa.array([None, b"<missing>", b"\xff", rb"\xff", b"x_b_1", b"x", b"y_b", b"y"], pa.binary())
    pq.write_table(pa.table({"a": a, "b": ["2", "2", "2", "2", "2", "1", "1", "b_1"]}), tmp_path / "a.parquet")
    datasets = statistics(Dataset.open(str(tmp_path / "a.parquet")), slices=["a", ("a", "b")]).statistics.datasets
    found = {each.name: each.num_examples for each in datasets if each.name.startswith("a_")}
    assert len(found) == 16 and set(found.values()) == {1}
    assert {"a_<missing>", 'a_"<missing>"', "a_\\xff", "a_\\\\xff"} <= found.keys()


def test_empty_data_set(tmp_path):
    pq.write_table(odd_table().slice(0, 0), tmp_path / "a.parquet")
    report = statistics(Dataset.open(str(tmp_path / "a.parquet")), slices=["flag"])
    (dataset,) = report.statistics.datasets
    assert dataset.num_examples == 0 and len(dataset.features) == 14
    assert all(not each.presence.min_count for each in report.schema.feature)


def proto_of(plan: StatisticsPass, tables: list[pa.Table]) -> Any:
    """Statistics of tables that are read as one split each, their states encoded and merged as runners do."""
    opened = plan.open()
    encoded = [opened.encode(opened.accumulate(table.to_batches(max_chunksize=3))) for table in tables]
    parts = {key: plan.merge(key, [each[key] for each in encoded]) for key in encoded[0]}
    return statistics_proto(*plan.finish(parts), [name for name, _ in plan.features], plan.weight is not None)


PLAN = StatisticsPass(
    features=(("number", "float"), ("bytes", "bytes"), ("lists", "int"), ("constant", "category"), ("large", "int")),
    slices=(("words",), ("color", "flag")),
    weight="constant",
)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.integers(0, 7), min_size=1, max_size=30), data=st.data())
def test_no_cut_of_the_rows_changes_anything(rows, data):
    hold_cuts(rows, sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=5))))


def test_weighted_sums_of_large_values_do_not_depend_on_cuts():
    hold_cuts([4, 4, 1, 0], [0, 1])  # ±2**63, whose float sum swallows the 1 beside it or not, by the order


def hold_cuts(rows: list[int], cuts: list[int]) -> None:
    table = odd_table().take(rows)
    pieces = [table.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, len(rows)])]
    cut, whole = (proto_of(PLAN, each).SerializeToString(deterministic=True) for each in (pieces, [table]))
    assert cut == whole  # as bytes: NaN is not equal to itself


def test_weights_weigh(tmp_path):
    table = pa.table({"x": [1.0, 2.0, None, 4.0], "c": ["a", "b", "b", None], "w": [1.0, 2.0, 3.0, 0.0]})
    pq.write_table(table, tmp_path / "a.parquet")
    (dataset,) = statistics(Dataset.open(str(tmp_path / "a.parquet")), weight="w").statistics.datasets
    found = features_of(dataset)
    assert dataset.weighted_num_examples == 6
    numbers = found["x"].num_stats
    assert numbers.weighted_numeric_stats.mean == pytest.approx(np.average([1, 2, 4], weights=[1, 2, 0]))
    assert (numbers.common_stats.weighted_common_stats.num_non_missing, numbers.mean) == (3, pytest.approx(7 / 3))
    assert numbers.common_stats.weighted_common_stats.num_missing == 3
    ranks = found["c"].string_stats.weighted_string_stats.rank_histogram.buckets
    assert [(each.label, each.sample_count) for each in ranks] == [("b", 5), ("a", 1)]


@pytest.mark.parametrize("rows", [10, 29, 90, 170, 180, 330, 1001])
def test_each_end_of_the_quantiles_is_the_value_at_its_place(tmp_path, rows):
    pq.write_table(pa.table({"x": pa.array(np.random.default_rng(1).permutation(rows))}), tmp_path / "a.parquet")
    stats = statistics(str(tmp_path / "a.parquet")).statistics.datasets[0].features[0].num_stats
    found = histogram_of(stats, QUANTILES).buckets
    assert [each.low_value for each in found] == [tenth * rows // 10 for tenth in range(10)]
    assert (found[-1].high_value, stats.median) == (rows - 1, rows // 2)


def test_beyond_the_limit_the_error_is_stated_and_held(tmp_path):
    rng = np.random.default_rng(5)
    numbers, words = rng.normal(size=60_000), [f"w{int(each)}" for each in rng.zipf(1.3, 60_000) % 30_000]
    table = pa.table({"number": numbers, "word": words})
    plan = StatisticsPass(features=(("number", "float"), ("word", "bytes")), limit=2000)
    (dataset,) = proto_of(plan, [table.slice(at, 10_000).combine_chunks() for at in range(0, 60_000, 10_000)]).datasets
    found = features_of(dataset)
    notes = {name: {each.name: each.num for each in found[name].custom_stats} for name in found}
    stats, ordered = found["number"].num_stats, np.sort(numbers)
    assert notes["number"] == {"quantile_rank_error": 0.01}
    assert (stats.min, stats.max, stats.mean) == (ordered[0], ordered[-1], pytest.approx(numbers.mean(), rel=1e-12))
    for index, bucket in enumerate(histogram_of(stats, QUANTILES).buckets):
        assert abs(np.searchsorted(ordered, bucket.low_value) / 60_000 - index / 10) <= 0.01
    counts, _ = np.histogram(numbers, 10)
    found_counts = [bucket.sample_count for bucket in histogram_of(stats, STANDARD).buckets]
    assert np.abs(np.array(found_counts) - counts).max() <= 0.02 * 60_000
    true: dict[str, int] = {word: words.count(word) for word in ("w1", "w2", "w3")}
    error = notes["word"]["top_values_count_error"]
    assert 0 < error < 60_000 / 500
    shown = {each.value: each.frequency for each in found["word"].string_stats.top_values}
    assert all(shown[word] <= true[word] <= shown[word] + error for word in true)
    assert found["word"].string_stats.unique == pytest.approx(
        len(set(words)), rel=3 * notes["word"]["unique_relative_error"]
    )


def test_workers_and_processes_give_the_same(flown, frame, tmp_path):
    table = pa.Table.from_pandas(frame.head(3000), preserve_index=False)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=500)
    data = Dataset.open(str(tmp_path / "a.parquet"))
    one, other = (
        statistics(data, runner_options=options, slices=["carrier"], target_split_bytes=1 << 12).statistics
        for options in (["--workers=1"], ["--workers=2", "--processes=always"])
    )
    assert one == other


def test_what_cannot_be_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [1.0, None], "l": [[1], [2]], "w": [1.0, -1.0], "k": ["a", "b"]}), path)
    data = Dataset.open(str(path))
    with pytest.raises(ConfigError, match="column 'y' not found; available columns: x, l, w, k"):
        statistics(data, slices=["y"])
    with pytest.raises(ConfigError, match="'l' holds lists"):
        statistics(data, slices=["l"])
    with pytest.raises(ConfigError, match="features: column 'z' not found"):
        statistics(data, features=["z"])
    with pytest.raises(DataError, match=r"weight: column 'w' holds -1\.0"):
        statistics(data, weight="w")
    with pytest.raises(DataError, match="weight: column 'x' has no value"):
        statistics(data, weight="x")
    pq.write_table(pa.table({"inside": [{"a": 1}], "x": [1]}), path)
    with pytest.raises(ConfigError, match=r"column 'inside' has type struct.*--feature"):
        statistics(Dataset.open(str(path)))
    pq.write_table(pa.table({"id": list(range(1500))}), path)
    with pytest.raises(ConfigError, match="more than 1,000 values"):
        statistics(Dataset.open(str(path)), slices=["id"])
