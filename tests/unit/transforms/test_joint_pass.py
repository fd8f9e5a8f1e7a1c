"""An analysis that takes statistics in its first pass: the same graph, the same statistics, one reading of the records."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.experimental import ptransform_analyzer

from engine import ConfigError, DataError, Dataset
from tests.support import parity
from transforms import analyze, statistics
from transforms.profiling.table import shares_lines
from transforms.runners.joint import JointReader

ROWS = 3000


def _columns(inputs: dict[str, Any]) -> dict[str, Any]:
    return {
        "z": tft.scale_to_z_score(inputs["price"]),
        "id": tft.compute_and_apply_vocabulary(inputs["word"], vocab_filename="word"),
        "low": tft.compute_and_apply_vocabulary(tf.strings.lower(inputs["word"]), vocab_filename="low"),
        "bucket": tft.bucketize(inputs["count"], 4),
    }


def _two_phases(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"z": tft.scale_to_z_score(tft.scale_to_0_1(inputs["price"])), "w": tft.hash_strings(inputs["word"], 7)}


def _nothing(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"twice": inputs["price"] * 2.0}


class _Total(beam.PTransform):
    def expand(self, batches: Any) -> Any:
        return batches | beam.Map(lambda batch: float(batch[0].sum())) | beam.CombineGlobally(sum)


def _by_tft(inputs: dict[str, Any]) -> dict[str, Any]:
    (total,) = ptransform_analyzer([inputs["price"]], _Total(), [tf.float32], [[]])
    return {"part": inputs["price"] / total}


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Types that TensorFlow sees otherwise: float64, int16, text, booleans."""
    rng = np.random.default_rng(4)
    return pa.table(
        {
            "price": rng.lognormal(1, 2, ROWS),
            "count": pa.array(rng.integers(-300, 300, ROWS), pa.int16()),
            "word": pa.array([f"W{each}" for each in rng.zipf(1.4, ROWS) % 90]),
            "unused": pa.array(rng.integers(0, 1 << 62, ROWS)),
            "label": pa.array(rng.random(ROWS) < 0.2),
        },
        schema=pa.schema(
            [
                pa.field("price", pa.float64(), nullable=False),
                pa.field("count", pa.int16(), nullable=False),
                pa.field("word", pa.string(), nullable=False),
                pa.field("unused", pa.int64(), nullable=False),
                pa.field("label", pa.bool_()),
            ]
        ),
    )


@pytest.fixture(scope="module")
def data(table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("joint") / "data"
    return parity.write_table(root, table, files=3)


def _read_as_files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.mark.parametrize(
    "options", [["--workers=2"], ["--processes=always", "--workers=2"]], ids=["threads", "processes"]
)
def test_graph_and_statistics_are_those_of_two_passes(data: str, tmp_path: Path, options: list[str]) -> None:
    ds = Dataset.open(data)
    alone = analyze(ds, _columns, tmp_path / "alone", runner_options=options)
    report = analyze(
        ds,
        _columns,
        tmp_path / "graph",
        runner_options=options,
        stats=tmp_path / "stats",
        slices=["label"],
        labels=["label"],
    )
    expected = statistics(ds, tmp_path / "other", slices=["label"], labels=["label"])
    assert (report.phases, report.records, alone.records) == (1, ROWS, ROWS)
    assert parity.assets(alone.path) == parity.assets(report.path) != {}
    assert parity.metadata(alone.path) == parity.metadata(report.path)
    results = "transform_fn/assets.extra/analyzer_results.json"
    assert (tmp_path / "alone" / results).read_bytes() == (tmp_path / "graph" / results).read_bytes()
    assert report.stats == str(tmp_path / "stats")
    assert _read_as_files(tmp_path / "stats") == _read_as_files(tmp_path / "other")
    assert report.label_shares == expected.label_shares


def test_label_shares_are_pyarrows_counts(table: pa.Table, data: str, tmp_path: Path) -> None:
    report = analyze(Dataset.open(data), _columns, tmp_path / "graph", labels=["label", "word"])
    assert report.stats is None and os.listdir(tmp_path) == ["graph"]
    for name, spell in (("label", lambda each: str(int(each))), ("word", str)):
        counted = {spell(each["values"].as_py()): each["counts"].as_py() for each in table[name].value_counts()}
        found = report.label_shares[name]
        assert dict(found.counts) == counted and found.exact and found.missing == 0
        assert list(found.counts.values()) == sorted(counted.values(), reverse=True)
        assert sum(found.shares.values()) == pytest.approx(1.0)


def test_shares_are_of_all_values_where_not_all_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.statistics_job.MOST_EXACT", 4096)
    distinct, often = 20_000, 1000
    text = ["top"] * often + [f"t{each:05d}" for each in range(distinct)]
    number = [float("nan")] * often + [float(each) for each in range(distinct)]
    pq.write_table(pa.table({"text": text, "number": number}), tmp_path / "rows.parquet")
    report = statistics(Dataset.open(str(tmp_path / "rows.parquet")), labels=["text", "number"])
    for name, value in (("text", "top"), ("number", "nan")):
        found = report.label_shares[name]
        assert not found.exact and found.values == often + distinct
        assert 0.9 * often < found.counts[value] <= often  # of too many texts it is a lower bound
        assert found.shares[value] == found.counts[value] / (often + distinct)


def test_labels_that_read_alike_are_counted_apart_and_shown_in_one_line(tmp_path: Path) -> None:
    values = [b"\xff"] * 3 + [b"\\xff"] * 2 + ["Zürich\u00a0".encode()] + [b"a\nb\x1b[31m"]
    pq.write_table(pa.table({"y": pa.array(values, pa.binary())}), tmp_path / "rows.parquet")
    report = statistics(Dataset.open(str(tmp_path / "rows.parquet")), labels=["y"])
    found = dict(report.label_shares["y"].counts)
    assert found == {r"\xff": 3, r"\\xff": 2, "Zürich\u00a0": 1, "a\nb\x1b[31m": 1}
    (line,) = shares_lines(report.label_shares)
    assert "Zürich\u00a0 14.29% (1)" in line and r"a\nb\u001b[31m 14.29% (1)" in line


def test_a_graph_without_its_statistics_is_told(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no space")

    monkeypatch.setattr("transforms.validation.files.write_statistics", fail)
    with pytest.raises(OSError, match="no space"):
        analyze(Dataset.open(data), _nothing, tmp_path / "graph", stats=tmp_path / "stats")
    assert (tmp_path / "graph").is_dir() and not (tmp_path / "stats").exists()
    assert f"its statistics are not: what {tmp_path / 'stats'} held" in caplog.text


@pytest.mark.parametrize(
    ("function", "jointly"),
    [(_two_phases, True), (_nothing, False), (_by_tft, False)],
    ids=["two phases", "no analyzer", "a user's own PTransform"],
)
def test_statistics_are_taken_once_whatever_the_phases(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Any, jointly: bool
) -> None:
    seen: list[str] = []
    original = JointReader.read

    def counting(self: Any, split: Any) -> Any:
        seen.append(split.path)
        return original(self, split)

    monkeypatch.setattr(JointReader, "read", counting)
    report = analyze(Dataset.open(data), function, tmp_path / "graph", stats=tmp_path / "stats", labels=["label"])
    alone = statistics(Dataset.open(data), tmp_path / "other", labels=["label"])
    assert _read_as_files(tmp_path / "stats") == _read_as_files(tmp_path / "other")
    assert report.label_shares == alone.label_shares
    assert report.phases == (2 if jointly else 0)
    assert (report.fallback is not None) == (function is _by_tft)
    assert len(seen) == (3 if jointly else 0)  # each file once, in the first of the passes


def test_on_beam_as_locally(data: str, tmp_path: Path) -> None:
    for name, runner in (("local", "local"), ("beam", "DirectRunner")):
        analyze(
            Dataset.open(data),
            _columns,
            tmp_path / name,
            runner=runner,
            stats=tmp_path / f"{name}-stats",
            labels=["label"],
        )
    assert parity.assets(str(tmp_path / "local")) == parity.assets(str(tmp_path / "beam"))
    assert _read_as_files(tmp_path / "local-stats") == _read_as_files(tmp_path / "beam-stats")


def test_a_value_that_tensorflow_cannot_see_is_named_by_file_and_record(tmp_path: Path) -> None:
    values = np.ones(50)
    values[41] = 1e300
    pq.write_table(pa.table({"price": values, "word": ["a"] * 50, "count": [1] * 50}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="beyond the range of float") as failure:
        analyze(Dataset.open(str(tmp_path / "rows.parquet")), _two_phases, tmp_path / "graph", stats=tmp_path / "stats")
    assert (failure.value.path, failure.value.record) == (str(tmp_path / "rows.parquet"), 41)
    assert os.listdir(tmp_path) == ["rows.parquet"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slices": ["label"]}, "slices and weight are those of statistics"),
        ({"labels": ["lable"]}, "labels: column 'lable' not found"),
        ({"stats": "graph/stats"}, "lie in one another"),
        ({"stats": "graph"}, "lie in one another"),
        ({"stats": "stats", "spans": "spans"}, "spans: what is kept of a span is of analyzers alone"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        analyze(Dataset.open(data), _columns, "graph", **options)
    assert os.listdir(tmp_path) == []


def test_command_tells_the_shares(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cluster.cli.main import main

    module = tmp_path / "features.py"
    module.write_text(
        "import tensorflow_transform as tft\n"
        "def preprocessing_fn(inputs):\n    return {'z': tft.scale_to_z_score(inputs['price'])}\n"
    )
    words = [
        "analyze",
        data,
        "--module",
        str(module),
        "--out",
        str(tmp_path / "graph"),
        "--stats",
        str(tmp_path / "stats"),
    ]
    assert main([*words, "--label", "label"]) == 0
    assert "label: 0 " in capsys.readouterr().out
    shares = json.loads((tmp_path / "stats/label_shares.json").read_text())["label"]
    assert sum(shares["counts"].values()) == ROWS
