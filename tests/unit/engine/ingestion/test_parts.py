"""Data sets split as people split them: each record in one part, by what was asked for, and refused where it cannot be."""

from __future__ import annotations

import collections
import datetime
import decimal
import json
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli.main import main
from engine import ConfigError, DataError, Dataset, ingest

ROWS = 3000


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "id": np.arange(ROWS),
            "user": [f"u{i % 211}" for i in range(ROWS)],
            "label": rng.choice(["no", "yes", "maybe"], ROWS, p=[0.9, 0.09, 0.01]),
            "day": [str(datetime.date(2013, 1, 1) + datetime.timedelta(days=i * 365 // ROWS)) for i in range(ROWS)],
        }
    )


@pytest.fixture(params=["csv", "parquet", "tfrecord"])
def source(request, frame, tmp_path):
    path = tmp_path / "in" / f"data.{request.param}"
    path.parent.mkdir()
    if request.param == "csv":
        frame.to_csv(path, index=False)
    else:
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=500)
    if request.param == "tfrecord":
        os.rename(path, tmp_path / "x.parquet")
        ingest(tmp_path / "x.parquet", path, format="tfrecord", num_shards=2)
    return path


def parts_of(report):
    found = {}
    for name in report.parts:
        dataset = Dataset.open(os.path.join(report.out, name))
        assert dataset.num_records == report.parts[name].num_records
        counts = [entry.records for entry in dataset.manifest.files]
        assert max(counts) - min(counts) <= 1
        table = pa.Table.from_batches(dataset.read_batches(), dataset.schema)
        found[name] = {
            key: [v.decode() if isinstance(v, bytes) else v for v in table[key].to_pylist()]
            for key in table.column_names
        }
    assert sorted(i for part in found.values() for i in part["id"]) == list(range(ROWS))
    for part in found.values():
        assert part["id"] == sorted(part["id"])
    return found


def test_at_random_into_three_parts(source, tmp_path):
    fractions = {"train": 0.7, "eval": 0.2, "test": 0.1}
    report = ingest(source, tmp_path / "out", num_shards=3, fractions=fractions, label="label")
    parts = parts_of(report)
    for name, share in fractions.items():
        assert abs(len(parts[name]["id"]) / ROWS - share) < 0.04
    assert parts_of(ingest(source, tmp_path / "again", fractions=fractions)) == parts
    assert parts_of(ingest(source, tmp_path / "other", fractions=fractions, seed=1)) != parts
    assert report.labels == {name: dict(collections.Counter(part["label"])) for name, part in parts.items()}


def test_by_keys(source, tmp_path):
    parts = parts_of(ingest(source, tmp_path / "out", num_shards=2, split_by=["user"]))
    assert list(parts) == ["train", "eval"]
    assert not set(parts["train"]["user"]) & set(parts["eval"]["user"])
    assert abs(len(parts["train"]["id"]) / ROWS - 0.8) < 0.1


def test_stratified(source, frame, tmp_path):
    fractions = {"train": 0.6, "eval": 0.3, "test": 0.1}
    report = ingest(source, tmp_path / "out", num_shards=2, stratify_by="label", fractions=fractions)
    parts = parts_of(report)
    for value, total in frame["label"].value_counts().items():
        for name, share in fractions.items():
            assert abs(parts[name]["label"].count(value) - share * total) < 1
    drawn = parts["eval"]["id"]
    assert abs(np.mean(drawn) / ROWS - 0.5) < 0.05  # from everywhere, not the first of each
    share = 100 * parts["eval"]["label"].count("yes") / len(drawn)
    assert any(
        line.startswith(f"eval: {len(drawn)} records") and f", yes {share:.1f} % (" in line for line in report.lines()
    )


def test_by_keys_and_stratified(source, frame, tmp_path):
    """Users stay together and each part has its shares of labels, at least as near as scikit-learn's folds of groups."""
    from sklearn.model_selection import StratifiedGroupKFold

    options = {"split_by": ["user"], "stratify_by": "label"}
    report = ingest(source, tmp_path / "out", num_shards=2, **options)
    parts = parts_of(report)
    assert not set(parts["train"]["user"]) & set(parts["eval"]["user"])
    assert report.labels == {name: dict(collections.Counter(part["label"])) for name, part in parts.items()}
    totals = frame["label"].value_counts()

    def departure(labels):
        return sum((labels.get(value, 0) - 0.2 * total) ** 2 / (0.2 * total) for value, total in totals.items())

    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(frame, frame["label"], frame["user"])
    theirs = [departure(frame["label"].iloc[rows].value_counts()) for _, rows in folds]
    assert departure(report.labels["eval"]) <= max(theirs)
    assert abs(len(parts["eval"]["id"]) / ROWS - 0.2) < 0.01
    counts = report.labels["eval"]
    assert f"yes {100 * counts['yes'] / sum(counts.values()):.1f} % ({counts['yes']})" in report.lines()[1]
    assert parts_of(ingest(source, tmp_path / "seed", seed=1, **options)) != parts


def test_groups_do_not_depend_on_the_order_of_records_or_files(frame, tmp_path):
    fractions = {"a": 0.5, "b": 0.3, "c": 0.2}
    options = {"split_by": ["user"], "stratify_by": "label", "fractions": fractions, "num_shards": 1}
    frame = frame.assign(user=[f"u{int(np.sqrt(i))}" for i in range(ROWS)])  # of many sizes
    frame.loc[::50, "label"] = None
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / "a.parquet")
    shuffled = frame.sample(frac=1, random_state=3)
    for number, rows in enumerate(np.array_split(np.arange(ROWS), 3)):
        table = pa.Table.from_pandas(shuffled.iloc[rows], preserve_index=False)
        pq.write_table(table, tmp_path / f"part{number}.parquet")
    found = []
    for name, paths in (("one", tmp_path / "a.parquet"), ("many", tmp_path / "part*.parquet")):
        ingest(paths, tmp_path / name, **options)
        tables = {part: pq.ParquetDataset(tmp_path / name / part).read() for part in fractions}
        found.append({part: set(table["user"].to_pylist()) for part, table in tables.items()})
        for part, share in fractions.items():
            for value, total in frame["label"].value_counts(dropna=False).items():
                had = sum((each or "-") == (value or "-") for each in tables[part]["label"].to_pylist())
                assert abs(had - share * total) <= 2 + 0.05 * total
            sizes = [len(frame[frame["user"] == user]) for user in found[-1][part]]
            assert abs(np.mean(sizes) - ROWS / frame["user"].nunique()) < 15  # small ones and large ones in each
    assert found[0] == found[1]


def test_fewer_groups_than_parts_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("user,label\n1,a\n1,b\n")
    with pytest.raises(ConfigError, match="the keys have 1 values for 2 parts"):
        ingest(tmp_path / "a.csv", tmp_path / "out", split_by=["user"], stratify_by="label")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("test_from", [None, "2013-12-01"])
def test_by_time(source, frame, tmp_path, test_from):
    parts = parts_of(
        ingest(source, tmp_path / "out", num_shards=2, split_time="day", eval_from="2013-11-01", test_from=test_from)
    )
    cut = test_from or "9999"
    assert parts["train"]["day"] == [day for day in frame["day"] if day < "2013-11-01"]
    assert parts["eval"]["day"] == [day for day in frame["day"] if "2013-11-01" <= day < cut]
    assert list(parts) == (["train", "eval", "test"] if test_from else ["train", "eval"])


def test_as_given_with_one_schema(tmp_path):
    (tmp_path / "old.csv").write_text("x,y\n1,\n2,NA\n")
    (tmp_path / "new.csv").write_text("y,x\n2.5,3\n")
    report = ingest({"train": tmp_path / "old.csv", "eval": [tmp_path / "new.csv"]}, tmp_path / "out", num_shards=1)
    train, evaluation = (Dataset.open(tmp_path / "out" / name) for name in ("train", "eval"))
    assert (
        train.schema == evaluation.schema == pa.schema([pa.field("x", pa.int64(), False), pa.field("y", pa.float64())])
    )
    assert {name: manifest.num_records for name, manifest in report.parts.items()} == {"train": 2, "eval": 1}
    with pytest.raises(ConfigError, match="is given for the parts 'a' and 'b'"):
        ingest({"a": tmp_path / "old.csv", "b": tmp_path / "*.csv"}, tmp_path / "twice")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([f"2020-01-0{1 + i}" for i in range(4)]).cast(pa.timestamp("ns")),
        pa.array([f"2020-01-0{1 + i}T05Z" for i in range(4)]).cast(pa.timestamp("s", "Europe/Berlin")),
        pa.array([datetime.date(2020, 1, 1 + i) for i in range(4)]),
        pa.array([f"2020-01-0{1 + i}T05:00:00Z" for i in range(4)]),
        pa.array([f"2020-01-0{1 + i}T01:00:00+0100" for i in range(4)]).dictionary_encode(),
        pa.array([f"2020-01-0{1 + i} 05:00:00.123456" for i in range(4)], pa.large_string()),
    ],
)
def test_times_of_any_type(tmp_path, column):
    pq.write_table(pa.table({"t": column, "id": range(4)}), tmp_path / "a.parquet")
    for cut in (
        "2020-01-03",
        "2020-01-03T00:00:00Z",
        datetime.date(2020, 1, 3),
        datetime.datetime(2020, 1, 3, tzinfo=datetime.timezone.utc),
    ):
        ingest(tmp_path / "a.parquet", tmp_path / "out", num_shards=1, split_time="t", eval_from=cut)
        table = pa.Table.from_batches(Dataset.open(tmp_path / "out" / "eval").read_batches())
        assert table["id"].to_pylist() == [2, 3]


@pytest.mark.parametrize(
    ("values", "cut"),
    [
        ([1, 2, 3], 3),
        ([0.5, 1.5, 2.5], "2.5"),
        ([2**60, 2**60 + 1, 2**60 + 2], 2**60 + 2),
        (pa.array([0, 2**60 + 1, 2**60 + 2], pa.uint64()), str(2**60 + 2)),
        (pa.array([-1, 0, 127], pa.int8()), 0.5),
        ([decimal.Decimal(text) for text in ("-1", "1152921504606846976.1", "1152921504606846977.1")], 2**60 + 1),
        ([decimal.Decimal(text) for text in ("0.1", "0.2", "0.3")], 0.3),
    ],
)
def test_numbers_as_times(tmp_path, values, cut):
    array = pa.array(values)
    values = array.to_pylist()
    pq.write_table(pa.table({"t": array}), tmp_path / "a.parquet")
    ingest(tmp_path / "a.parquet", tmp_path / "out", num_shards=1, split_time="t", eval_from=cut)
    assert pa.Table.from_batches(Dataset.open(tmp_path / "out" / "eval").read_batches())["t"].to_pylist() == values[2:]


def test_zeros_of_both_signs_are_one_value_of_the_shares(tmp_path):
    pq.write_table(pa.table({"y": [0.0, -0.0, 1.0, float("nan"), None] * 20}), tmp_path / "a.parquet")
    report = ingest(tmp_path / "a.parquet", tmp_path / "out", num_shards=1, stratify_by="y")
    assert report.labels["eval"] == {"0.0": 8, "1.0": 4, "None": 4, "nan": 4}


@pytest.mark.parametrize(
    ("values", "options", "error", "message"),
    [
        (["2020-01-01", None], {"eval_from": "2020-01-01"}, DataError, "record 1: column 't' has no time here"),
        (
            ["2020-01-01", "soon"],
            {"eval_from": "2020-01-01"},
            DataError,
            "record 1: column 't' holds 'soon' here, which is not a date or time",
        ),
        ([1.5, float("nan")], {"eval_from": 1}, DataError, "record 1: column 't' has no time here"),
        (["2020-01-01"], {"eval_from": "soon"}, ConfigError, "eval_from or test_from is 'soon'; it takes a date"),
        (["2020-01-01"], {"eval_from": 5}, ConfigError, "which is not a date or time"),
        ([5], {"eval_from": "2020-01-01"}, ConfigError, "which is not a number"),
        ([5], {"eval_from": 5, "test_from": 5}, ConfigError, "eval must begin before test"),
        ([[5]], {"eval_from": "2020-01-01"}, ConfigError, "split by a column of times or numbers"),
        ([5], {}, ConfigError, "split_time=.t. needs eval_from"),
        ([5], {"eval_from": 5, "fractions": {"a": 1.0}}, ConfigError, "are given beside split_time"),
    ],
)
def test_times_that_cannot_be_are_refused(tmp_path, values, options, error, message):
    pq.write_table(pa.table({"t": values}), tmp_path / "a.parquet")
    with pytest.raises(error, match=message):
        ingest(tmp_path / "a.parquet", tmp_path / "out", split_time="t", **options)
    assert not (tmp_path / "out").exists()


KEYS = {
    "list": (pa.array([[1], [2]]), "column 'k' is list<.*>; data are split by columns of single values"),
    "struct": (pa.array([{"a": 1}, {"a": 2}]), "single values"),
    "large_binary": (pa.array([b"\xff", b"a"], pa.large_binary()), None),
    "binary": (pa.array([b"\xff\x00", None], pa.binary()), None),
    "fixed_binary": (pa.array([b"\xff1", b"a2"], pa.binary(2)), None),
    "string_view": (pa.array(["a", "b"], pa.string_view()), None),
    "binary_view": (pa.array([b"\xff", b"b"], pa.binary_view()), None),
    "time32": (pa.array([1, 2], pa.time32("ms")), None),
    "time64": (pa.array([1, 2], pa.time64("ns")), None),
    "duration": (pa.array([1, 2], pa.duration("us")), None),
    "decimal": (pa.array([1, 2], pa.decimal128(5, 2)), None),
    "bool": (pa.array([True, None]), None),
    "dictionary": (pa.array(["a", None]).dictionary_encode(), None),
    "null": (pa.nulls(2), None),
    "date": (pa.array([1, 2], pa.date32()), None),
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_every_type_are_split_by_or_refused_in_one_line(tmp_path, kind):
    column, refused = KEYS[kind]
    table = pa.table({"k": column, "id": pa.array([0, 1])})
    pq.write_table(pa.concat_tables([table, table]), tmp_path / "a.parquet")
    options = {"num_shards": 1, "split_by": ["k"], "fractions": {"a": 0.5, "b": 0.5}}
    if refused:
        with pytest.raises(ConfigError, match=refused):
            ingest(tmp_path / "a.parquet", tmp_path / "out", **options)
        return
    report = ingest(tmp_path / "a.parquet", tmp_path / "out", **options)
    for name in report.parts:  # equal keys are together
        batches = Dataset.open(tmp_path / "out" / name).read_batches(columns=["id"])
        ids = [value for batch in batches for value in batch["id"].to_pylist()]
        assert ids in ([], [0, 0], [1, 1], [0, 1, 0, 1])


BAD_FRACTIONS = [
    "../precious=0.5,eval=0.5", "a/b=0.5,b=0.5", "=0.5,b=0.5", "_x=0.5,b=0.5", "..=0.5,b=0.5", ".x=0.5,b=0.5", "a\\b=0.5,b=0.5",
    "train=nan,eval=0.5", "train=-0.5,eval=1.5", "train=0.5,train=0.5", "train=0.5", "train", "train=0.8,eval=0.3", "train=inf,eval=0",
    "a b=0.5,c=0.5", "",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_FRACTIONS)
@pytest.mark.parametrize("with_keys", [True, False])
def test_fractions_that_cannot_be_are_refused_before_anything_is_read(tmp_path, text, with_keys, capsys):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "data-00000-of-00016.parquet").write_text("mine")
    words = ["--fractions", text, *(["--split-by", "x"] if with_keys else [])]
    assert main(["-q", "ingest", str(tmp_path / "not-there.csv"), "--out", str(tmp_path / "o"), *words]) == 2
    error = capsys.readouterr().err
    assert "not-there" not in error and error.count("\n") == 1 and "internal" not in error
    assert (tmp_path / "precious" / "data-00000-of-00016.parquet").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["precious"]
    pairs = [word.partition("=") for word in text.split(",")]
    if len({name for name, _, _ in pairs}) == len(pairs) and all(share for _, _, share in pairs):
        fractions = {name: float(share) for name, _, share in pairs}
        with pytest.raises(ConfigError):
            ingest(tmp_path / "not-there.csv", tmp_path / "o", fractions=fractions)


@pytest.mark.parametrize("name", ["../up", "a/b", "", "_x", "..", 5])
def test_names_of_given_parts_are_plain(tmp_path, name):
    with pytest.raises(ConfigError, match="names a part"):
        ingest({name: "not-there.csv", "b": "not-there.csv"}, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split_by": ["a"], "split_time": "b", "eval_from": 1}, "split_by and split_time are given"),
        ({"stratify_by": "a", "split_time": "b", "eval_from": 1}, "stratify_by and split_time are given"),
        ({"split_by": "user"}, "it takes a list of columns"),
        ({"eval_from": "2020-01-01"}, "need split_time"),
    ],
)
def test_ways_that_do_not_go_together_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        ingest("not-there.csv", tmp_path / "out", **options)
    with pytest.raises(ConfigError, match=r"files are given for each part \(a\), and a way"):
        ingest({"a": "not-there.csv"}, tmp_path / "out", split_by=["x"])


def test_a_data_set_is_written_in_parts(tmp_path):
    pq.write_table(pa.table({"user": [f"u{i % 7}" for i in range(100)]}), tmp_path / "a.parquet")
    dataset = Dataset.open(tmp_path / "a.parquet")
    parts = dataset.write(tmp_path / "out", num_shards=2, split_by=["user"], fractions={"a": 0.5, "b": 0.5})
    assert {name: manifest.num_records for name, manifest in parts.items()} == {
        name: Dataset.open(tmp_path / "out" / name).num_records for name in "ab"
    }
    with pytest.raises(DataError, match="has no column 'nope' to split by; it has user"):
        dataset.write(tmp_path / "out", split_by=["nope"])
    with pytest.raises(ConfigError, match="stratify_by is 'user', which has"):
        pq.write_table(pa.table({"user": range(3000)}), tmp_path / "many.parquet")
        Dataset.open(tmp_path / "many.parquet").write(tmp_path / "o", stratify_by="user")


def test_the_command_splits_in_every_way(tmp_path, frame, capsys):
    frame.to_csv(tmp_path / "a.csv", index=False)
    ways = {
        "random": ["--fractions", "train=0.5,eval=0.25,test=0.25", "--label", "label"],
        "keys": ["--split-by", "user"],
        "stratified": ["--stratify-by", "label"],
        "time": ["--split-time", "day", "--eval-from", "2013-11-01", "--test-from", "2013-12-01"],
    }
    for name, words in ways.items():
        out = tmp_path / name
        assert (
            main(["-q", "ingest", str(tmp_path / "a.csv"), "--out", str(out), "--num-shards", "1", "--json", *words])
            == 0
        )
        facts = json.loads(capsys.readouterr().out)
        counts = {part: Dataset.open(out / part).num_records for part in facts["parts"]}
        assert facts["parts"] == counts and sum(counts.values()) == ROWS
        assert (len(facts["labels"]) > 0) == (name in ("random", "stratified"))
    words = ["--part", f"train={tmp_path / 'a.csv'}", "--part", f"eval={tmp_path / 'b.csv'}"]
    frame.head(10).to_csv(tmp_path / "b.csv", index=False)
    assert (
        main(["-q", "ingest", *words, "--out", str(tmp_path / "given"), "--num-shards", "1", "--label", "label"]) == 0
    )
    shown = capsys.readouterr().out
    assert "eval: 10 records (0.3 %) in 1 shards; " in shown and "train: 3,000 records" in shown
    assert main(["-q", "ingest", "--out", str(tmp_path / "nothing")]) == 2
    assert "give the files to ingest, or with --part" in capsys.readouterr().err
