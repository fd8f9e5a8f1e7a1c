"""The analyzer cache: the result of one pass over all spans, while only new spans are read."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import ConfigError, DataError, Dataset
from tests.support import parity
from tests.support.eventually import eventually
from tests.support.forks import start_forked
from transforms import analyze
from transforms.cache import analyze_spans, spans_of
from transforms.cache.cache_file import SpanCache, read_span, write_span

ROWS = 3_000


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    import tensorflow as tf
    import tensorflow_transform as tft

    return {
        "z": tft.scale_to_z_score(tf.math.log1p(inputs["x"])),
        "bucket": tft.bucketize(inputs["x"], 4),
        "id": tft.compute_and_apply_vocabulary(inputs["s"], top_k=20, vocab_filename="s"),
    }


def two_phase_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    import tensorflow as tf
    import tensorflow_transform as tft

    return {"range": tft.scale_to_0_1(tf.math.exp(tft.scale_to_z_score(inputs["x"])))}


def write_span_rows(directory: Path, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    tokens = pa.array([f"t{n}" for n in rng.zipf(1.4, ROWS) % 60])
    table = pa.table({"x": rng.gamma(2, 3, ROWS).astype(np.float32), "s": tokens})
    directory.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, directory / f"span-{seed}.parquet", row_group_size=1000)
    return Dataset.open(str(directory / f"span-{seed}.parquet"))


class Reading:
    """The local runner, noting the files that it reads."""

    def __init__(self) -> None:
        from transforms.runners.local import LocalRunner

        self.name, self.inner, self.paths = "reading", LocalRunner(), []

    def accumulate(self, plan: Any, reader: Any, splits: Any, progress: Any) -> Any:
        self.paths += sorted({os.path.basename(split.path) for split in splits})
        return self.inner.accumulate(plan, reader, splits, progress)


def results(graph: Path) -> dict[str, Any]:
    import tensorflow as tf
    from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

    loader = SavedModelLoader(str(graph / "transform_fn"))
    inputs = {"x": tf.constant([0.5, 4.0, 9.0]), "s": tf.constant([b"t1", b"t2", b"none"])}
    outputs = loader.apply_transform_model(inputs)
    return {**parity.assets(str(graph)), **{name: value.numpy().tolist() for name, value in outputs.items()}}


def test_only_new_spans_are_read_and_the_result_is_that_of_one_pass(tmp_path: Path) -> None:
    spans = {f"day-{seed}": write_span_rows(tmp_path / "rows", seed) for seed in range(2)}
    first = Reading()
    analyze_spans(spans, preprocessing_fn, str(tmp_path / "a"), tmp_path / "cache", runner=first)
    assert first.paths == ["span-0.parquet", "span-1.parquet"]

    spans["day-2"] = write_span_rows(tmp_path / "rows", 2)
    second = Reading()
    report = analyze_spans(spans, preprocessing_fn, str(tmp_path / "b"), tmp_path / "cache", runner=second)
    assert second.paths == ["span-2.parquet"]
    assert report.records == 3 * ROWS

    analyze(Dataset.open(str(tmp_path / "rows" / "*.parquet")), preprocessing_fn, str(tmp_path / "whole"))
    assert results(tmp_path / "b") == results(tmp_path / "whole")

    third = Reading()
    analyze_spans(spans, preprocessing_fn, str(tmp_path / "c"), tmp_path / "cache", runner=third)
    assert third.paths == []
    assert results(tmp_path / "c") == results(tmp_path / "whole")


def test_changed_files_and_new_analyzers_are_read_again(tmp_path: Path) -> None:
    spans = {f"day-{seed}": write_span_rows(tmp_path / "rows", seed) for seed in range(2)}
    analyze_spans(spans, preprocessing_fn, str(tmp_path / "a"), tmp_path / "cache")
    write_span_rows(tmp_path / "rows", 0)
    os.utime(tmp_path / "rows" / "span-0.parquet", ns=(1, 1))
    changed = Reading()
    analyze_spans(spans, preprocessing_fn, str(tmp_path / "b"), tmp_path / "cache", runner=changed)
    assert changed.paths == ["span-0.parquet"]

    def more(inputs: dict[str, Any]) -> dict[str, Any]:
        import tensorflow_transform as tft

        return {**preprocessing_fn(inputs), "mean": inputs["x"] - tft.mean(inputs["x"])}

    added = Reading()
    analyze_spans(spans, more, str(tmp_path / "c"), tmp_path / "cache", runner=added)
    assert added.paths == ["span-0.parquet", "span-1.parquet"]


def test_a_second_phase_is_read_when_what_it_rests_on_changes(tmp_path: Path) -> None:
    spans = {f"day-{seed}": write_span_rows(tmp_path / "rows", seed) for seed in range(2)}
    analyze_spans(spans, two_phase_fn, str(tmp_path / "a"), tmp_path / "cache")
    again = Reading()
    analyze_spans(spans, two_phase_fn, str(tmp_path / "b"), tmp_path / "cache", runner=again)
    assert again.paths == []
    spans["day-2"] = write_span_rows(tmp_path / "rows", 2)
    grown = Reading()
    analyze_spans(spans, two_phase_fn, str(tmp_path / "c"), tmp_path / "cache", runner=grown)
    assert grown.paths == ["span-2.parquet", "span-0.parquet", "span-1.parquet", "span-2.parquet"]
    analyze(Dataset.open(str(tmp_path / "rows" / "*.parquet")), two_phase_fn, str(tmp_path / "whole"))
    assert results(tmp_path / "c") == results(tmp_path / "whole")


def test_another_default_value_is_read_again(tmp_path: Path) -> None:
    import tensorflow as tf

    path = tmp_path / "rows.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for value in (1.0, 3.0, None):
            feature = {} if value is None else {"x": tf.train.Feature(float_list=tf.train.FloatList(value=[value]))}
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())

    def column_fn(inputs: dict[str, Any]) -> dict[str, Any]:
        import tensorflow_transform as tft

        return {"x": inputs["x"] - tft.mean(inputs["x"]), "log": inputs["x"] - tft.max(inputs["x"] + 1)}

    found = []
    for default in (2.0, 101.0, 2.0):
        spec = {"x": tf.io.FixedLenFeature([], tf.float32, default_value=default)}
        spans = {"day": Dataset.open([str(path)], feature_spec=spec)}
        analyze_spans(spans, column_fn, str(tmp_path / "graph"), tmp_path / "cache")
        outputs = parity.outputs(str(tmp_path / "graph"), pa.table({"x": pa.array([0.0], pa.float32())}), spec)
        found.append((-outputs["x"][0], -outputs["log"][0]))
    assert found == [(2.0, 4.0), (35.0, 102.0), (2.0, 4.0)]


@pytest.mark.parametrize("operation", ["numpy_function", "py_function"])
def test_another_body_of_a_python_function_is_read_again(tmp_path: Path, operation: str) -> None:
    import tensorflow as tf
    import tensorflow_transform as tft

    def make(factor: float) -> Any:
        def body(values: Any) -> Any:
            return np.asarray(values) * np.float32(factor)

        def python_fn(inputs: dict[str, Any]) -> dict[str, Any]:
            scaled = getattr(tf, operation)(body, [inputs["x"]], tf.float32)
            scaled.set_shape([None])
            return {"x": 0 * inputs["x"] + tft.max(scaled)}

        return python_fn

    spans = {"day": write_span_rows(tmp_path / "rows", 0)}
    largest = max(batch.column("x").to_numpy().max() for batch in spans["day"].read_batches())
    read = []
    for factor in (1.0, 3.0, 1.0, 3.0):
        reading = Reading()
        analyze_spans(spans, make(factor), str(tmp_path / "graph"), tmp_path / "cache", runner=reading)
        read.append(len(reading.paths))
        found = parity.outputs(
            str(tmp_path / "graph"),
            pa.table({"x": pa.array([0.0], pa.float32()), "s": ["a"]}),
            spans["day"].feature_spec(),
        )
        assert found["x"][0] == np.float32(factor) * largest
    assert read == [1, 1, 0, 0]


def _fixed_size_rows(path: Path, value: float) -> None:
    """Rows whose file has the same size and time whatever they hold."""
    table = pa.table({"x": pa.array([value] * 10, pa.float32())})
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path, use_dictionary=False, compression="none")
    os.utime(path, ns=(1, 1))


def _mean(inputs: dict[str, Any]) -> dict[str, Any]:
    import tensorflow_transform as tft

    return {"x": 0 * inputs["x"] + tft.mean(inputs["x"])}


def test_new_content_of_old_size_and_time_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "rows" / "day.parquet"

    class Overtaken(Reading):
        """Something writes the file anew while it is read."""

        def accumulate(self, *args: Any) -> Any:
            result = super().accumulate(*args)
            _fixed_size_rows(path, 3.0)
            return result

    def mean(runner: Any) -> float:
        spans = {"day": Dataset.open(str(path))}
        analyze_spans(spans, _mean, str(tmp_path / "graph"), tmp_path / "cache", runner=runner)
        one = pa.table({"x": pa.array([0.0], pa.float32())})
        return float(parity.outputs(str(tmp_path / "graph"), one, spans["day"].feature_spec())["x"][0])

    found = []
    for value in (1.0, 2.0):
        _fixed_size_rows(path, value)
        found.append(mean(Reading()))
    _fixed_size_rows(path, 1.0)
    found += [mean(Overtaken()), mean(Reading()), mean(Reading())]
    assert found == [1.0, 2.0, 1.0, 3.0, 3.0]


def test_states_that_nobody_can_find_again_are_not_kept(tmp_path: Path) -> None:
    import threading

    import tensorflow as tf
    import tensorflow_transform as tft

    lock = threading.Lock()

    def unknown(inputs: dict[str, Any]) -> dict[str, Any]:
        same = tf.numpy_function(lambda values: (lock, values)[1], [inputs["x"]], tf.float32)
        return {"x": 0 * inputs["x"] + tft.max(tf.ensure_shape(same, [None]))}

    spans = {"day": write_span_rows(tmp_path / "rows", 0)}
    for _ in range(2):
        reading = Reading()
        analyze_spans(spans, unknown, str(tmp_path / "graph"), tmp_path / "cache", runner=reading)
        assert reading.paths == ["span-0.parquet"]
    assert not list(tmp_path.glob("cache/*.fpac"))


def other_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    import tensorflow_transform as tft

    return {
        "unit": tft.scale_to_0_1(inputs["x"]),
        "id": tft.compute_and_apply_vocabulary(inputs["s"], top_k=5, vocab_filename="s"),
    }


_ROUNDS = 2
# Each waits for the other before every round, so that both find an empty cache and write each span at about the same time.
_AT_ONCE = """
import os, sys
from pathlib import Path
# One file for both: a pipe that nobody reads would hold one up, and with it the other.
os.dup2(os.open(sys.argv[5], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
from engine import Dataset
from tests.support.eventually import eventually
from tests.system.transforms import test_cache
from transforms.cache import analyze_spans

root, mine, other, function = Path(sys.argv[1]), sys.argv[2], sys.argv[3], getattr(test_cache, sys.argv[4])
spans = {path.stem: Dataset.open(str(path)) for path in sorted((root / "rows").iterdir())}
for number in range(test_cache._ROUNDS):
    (root / f"ready-{mine}-{number}").touch()
    eventually((root / f"ready-{other}-{number}").exists, "the other process is as far", timeout_s=600)
    report = analyze_spans(spans, function, str(root / f"{mine}-{number}"), root / f"cache-{number}")
    assert report.records == len(spans) * test_cache.ROWS
"""


@pytest.mark.timeout(900)
def test_two_processes_share_a_cache_and_each_has_its_own_result(tmp_path: Path) -> None:
    """Whoever writes a span last may leave out what the other added: that is read again, and never taken for the other's."""
    spans = {f"span-{seed}": write_span_rows(tmp_path / "rows", seed) for seed in range(4)}
    functions = {"a": "preprocessing_fn", "b": "other_fn"}
    root = str(Path(__file__).parents[3])
    given = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": root if given is None else os.pathsep.join([root, given])}
    log = tmp_path / "log"
    running = []
    for mine, other in (("a", "b"), ("b", "a")):
        running.append(start_forked(_AT_ONCE, tmp_path, mine, other, functions[mine], log, env=environment))
    try:
        # One that fails ends the waiting: the other would wait for it in vain.
        eventually(lambda: any(p.poll() for p in running) or all(p.poll() == 0 for p in running), "both are done", 800)
        assert [each.poll() for each in running] == [0, 0], log.read_text(errors="replace")[-3000:]
    finally:
        for each in running:
            each.send_signal(signal.SIGKILL)
            each.wait()
    for mine, function in (("a", preprocessing_fn), ("b", other_fn)):
        whole = Dataset.open(str(tmp_path / "rows"))
        analyze(whole, function, str(tmp_path / f"{mine}-alone"))
        expected = results(tmp_path / f"{mine}-alone")
        for number in range(_ROUNDS):
            assert results(tmp_path / f"{mine}-{number}") == expected
            again = Reading()  # nothing that either left there misleads a later analysis
            analyze_spans(spans, function, str(tmp_path / "again"), tmp_path / f"cache-{number}", runner=again)
            assert results(tmp_path / "again") == expected


def test_the_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "day.fpac"
    write_span(path, SpanCache(span="day", mark="m", records=3, parts={"k": {0: b"abc", 2: b"defg"}, "empty": {}}))
    found = read_span(path)
    assert found is not None
    assert {key: {n: bytes(b) for n, b in parts.items()} for key, parts in found.parts.items()} == {
        "k": {0: b"abc", 2: b"defg"},
        "empty": {},
    }
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="checksum"):
        read_span(path)
    path.write_bytes(b"something else, long enough")
    with pytest.raises(DataError, match="is not a file of an analyzer cache"):
        read_span(path)


def test_spans_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        analyze_spans({}, preprocessing_fn, str(tmp_path / "a"), tmp_path / "cache")
    ds = write_span_rows(tmp_path / "rows", 0)
    with pytest.raises(ConfigError, match="two spans"):
        analyze_spans({"a": ds, "b": ds}, preprocessing_fn, str(tmp_path / "a"), tmp_path / "cache")
    with pytest.raises(ConfigError, match="name of a span"):
        analyze_spans({"../a": ds}, preprocessing_fn, str(tmp_path / "a"), tmp_path / "cache")


def test_spans_are_folders_or_files_and_only_new_ones_are_read(tmp_path: Path) -> None:
    def day(number: int) -> None:
        write_span_rows(tmp_path / "rows" / f"day={number}", number)

    def run(out: str) -> Any:
        ds = Dataset.open(str(tmp_path / "rows" / "*" / "*.parquet"))
        return analyze(ds, preprocessing_fn, str(tmp_path / out), spans=tmp_path / "spans")

    day(0), day(1)
    assert run("a").records_read == 2 * ROWS
    day(2)
    report = run("b")
    assert (report.records, report.records_read) == (3 * ROWS, ROWS)
    assert run("c").records_read == 0
    analyze(Dataset.open(str(tmp_path / "rows" / "*" / "*.parquet")), preprocessing_fn, str(tmp_path / "whole"))
    assert results(tmp_path / "c") == results(tmp_path / "b") == results(tmp_path / "whole")
    one = spans_of(["/data/day=1/a", "/data/day=1/b", "/data/day=2/a"])
    more = spans_of(["/data/day=1/a", "/data/day=1/b", "/data/day=2/a", "/data/day=3/a"])
    assert list(one) == list(more)[:2] and [len(files) for files in more.values()] == [2, 1, 1]
    assert list(spans_of(["/data/a", "/data/b"]).values()) == [["/data/a"], ["/data/b"]]
