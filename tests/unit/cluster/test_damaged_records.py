"""Records of finished steps and files of the analyzer cache with any byte flipped, cut or replaced: never taken for whole."""

from __future__ import annotations

import contextlib
import json

import pytest

from cluster.pipeline.records import RECORD, StepRecord, commit, finished_steps
from engine import DataError
from trainers.evaluation.result import EvaluationResult
from trainers.serving.push import history
from transforms.cache.cache_file import SpanCache, read_span, write_span


@pytest.fixture
def result(tmp_path):
    directory = tmp_path / "abc-1"
    directory.mkdir()
    (directory / "model.txt").write_text("x")
    counts = {"rows_in": 12, "rows_out": 11, "set_aside": {"late": 1}, "seconds": 1.5}
    record = StepRecord(
        step="train", key="abc", parts={}, before={}, outputs={"model": "model.txt"}, notes=("a",), info={}, files={},
        finished_at="2026-11-26T12:00:00+00:00", **counts,
    )  # fmt: skip
    commit(directory, record)
    return tmp_path


def test_step_record_any_flipped_byte_counts_as_none(result):
    path = result / "abc-1" / RECORD
    whole = path.read_bytes()
    (finished,) = finished_steps(result)
    for at in range(len(whole)):
        for bit in (1, 16):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            # White space between values may become other white space: then nothing was damaged.
            assert [f.record for f in finished_steps(result)] in ([], [finished.record]), (at, bit)
            assert not finished_steps(result) or json.loads(path.read_bytes()) == json.loads(whole)
    path.write_bytes(whole)
    assert finished_steps(result) == [finished]


@pytest.mark.parametrize(
    "content", ["", "[]", "null", "1", '"x"', "{}", '{"version": 2}', "[" * 100_000, '{"version": 1}']
)
def test_step_record_of_another_shape_counts_as_none(result, content):
    (result / "abc-1" / RECORD).write_text(content)
    assert finished_steps(result) == []


def test_span_cache_any_flipped_byte_is_found(tmp_path):
    path = tmp_path / "day"
    cache = SpanCache(span="day", mark="m", records=12, parts={"a": {0: b"state", 1: b""}, "b": {}})
    write_span(path, cache)
    whole = path.read_bytes()
    assert read_span(path) == cache
    for at in range(len(whole)):
        for bit in (1, 16):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            with contextlib.suppress(DataError):
                assert read_span(path) is None, (at, bit)  # of another version: read again
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError):
            read_span(path)


@pytest.mark.parametrize(
    "entries", [None, {}, [1], [[]], [{}], [{"version": "1"}], [{"version": True}], [{"version": 10**400}]]
)
def test_history_of_another_shape_is_named(tmp_path, entries):
    (tmp_path / ".history.json").write_text(json.dumps({"version": 1, "entries": entries}))
    with pytest.raises(DataError, match=r"\.history\.json: is a damaged history"):
        history(tmp_path)


@pytest.mark.parametrize("key", ["model", "model_sha256", "rows", "overall", "slices", "judged"])
def test_evaluation_without_a_field_is_named(tmp_path, key):
    path = tmp_path / "evaluation.json"
    EvaluationResult(model="m", model_sha256="0" * 64, label="y", rows=3, overall={"auc": 0.5}).save(path)
    stored = json.loads(path.read_text())
    del stored[key]
    path.write_text(json.dumps(stored))
    with pytest.raises(DataError, match="is a damaged evaluation"):
        EvaluationResult.load(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("judged", "false"), ("failures", "none"), ("not_judged", 1), ("model", None), ("model", 1), ("rows", []), ("rows", True),
        ("overall", {"auc": 10**400}), ("overall", {"auc": "high"}), ("slices", [{"key": [], "rows": 1, "metrics": {}}]),
        ("slices", [{"key": {}, "rows": "1", "metrics": {}}]), ("classes", {"y": "ab"}), ("fairness", [1]),
    ],
)  # fmt: skip
def test_evaluation_with_a_field_of_another_type_is_named(tmp_path, key, value):
    """Any text in the place of `judged` was a blessing."""
    path = tmp_path / "evaluation.json"
    EvaluationResult(model="m", model_sha256="0" * 64, label="y", rows=3, overall={"auc": 0.5}).save(path)
    stored = json.loads(path.read_text())
    stored.pop("blessed")
    path.write_text(json.dumps(stored | {key: value}))
    with pytest.raises(DataError, match="is a damaged evaluation"):
        EvaluationResult.load(path)


@pytest.mark.parametrize(("judged", "failures"), [(True, []), (False, []), (True, ["auc is too low"])])
def test_evaluation_whose_blessing_is_not_what_its_thresholds_say_is_named(tmp_path, judged, failures):
    path = tmp_path / "evaluation.json"
    settings = {"model": "m", "model_sha256": "0" * 64, "label": "y", "rows": 3, "overall": {"auc": 0.5}}
    EvaluationResult(**settings, judged=judged, failures=failures).save(path)
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"blessed": not stored["blessed"]}))
    with pytest.raises(DataError, match=r"damaged evaluation .*blessed is (True|False), and judged and failures say"):
        EvaluationResult.load(path)
