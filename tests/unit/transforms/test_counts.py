"""Counts are reconciled: a pass that loses or repeats records fails, and a failed one leaves nothing."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import Dataset, write_batches
from engine.core.errors import ConfigError, DataError
from engine.machine.processes import processors
from transforms import analyze, transform
from transforms.accumulators import decode_state, encode_state
from transforms.runners import make_runner
from transforms.runners.base import check_counts
from transforms.runners.exchange import read_parts, write_parts


@dataclasses.dataclass(frozen=True)
class FakeSplit:
    path: str
    records: int | None


SPLITS = [FakeSplit("a", 3), FakeSplit("b", None)]


def test_check_counts_of_a_whole_pass_returns_the_total():
    assert check_counts(SPLITS, {0: 3, 1: 4}, 7) == 7


@pytest.mark.parametrize(
    ("rows", "total", "message"),
    [
        ({0: 3}, None, "lost 1 of 2 splits"),
        ({0: 2, 1: 4}, 6, "read 2 records of a split of 3"),
        ({0: 3, 1: 4}, 8, "read 7 records, the manifest counts 8"),
    ],
)
def test_check_counts_of_lost_or_repeated_records_raises(rows, total, message):
    with pytest.raises(DataError, match=message):
        check_counts(SPLITS, rows, total)


def test_parts_survive_their_files(tmp_path):
    write_parts(str(tmp_path), "one", [(0, 1, b"abc"), (2, 0, b"")], {0: 5})
    write_parts(str(tmp_path), "two", [(1, 0, b"x" * 1000)], {1: 6})
    parts, rows = read_parts(str(tmp_path))
    for name in os.listdir(tmp_path):
        os.unlink(tmp_path / name)
    assert {key: bytes(view) for key, view in parts.items()} == {(0, 1): b"abc", (2, 0): b"", (1, 0): b"x" * 1000}
    assert rows == {0: 5, 1: 6}


def test_parts_that_come_twice_raise(tmp_path):
    write_parts(str(tmp_path), "one", [(0, 1, b"abc")], {})
    write_parts(str(tmp_path), "two", [(0, 1, b"abc")], {})
    with pytest.raises(DataError, match="merged twice"):
        read_parts(str(tmp_path))


def test_state_of_another_version_or_damaged_is_refused():
    blob = encode_state("moments", 1, {"a": np.arange(3), "b": np.array([b"x", b"", b"yz"], object)}, {"n": 2})
    arrays, values = decode_state("moments", 1, memoryview(blob))
    assert arrays["a"].tolist() == [0, 1, 2]
    assert arrays["b"].tolist() == [b"x", b"", b"yz"]
    assert values == {"n": 2}
    with pytest.raises(DataError, match="version 2"):
        decode_state("moments", 2, blob)
    with pytest.raises(DataError, match="are not an accumulator state"):
        decode_state("moments", 1, blob[:-20])
    with pytest.raises(DataError, match="are not an accumulator state"):
        decode_state("moments", 1, b"\x80\x04pickle")


def test_unknown_runner_or_option_is_named():
    with pytest.raises(ConfigError, match="slurm"):
        make_runner("slurm")
    with pytest.raises(ConfigError, match="--wrokers"):
        make_runner("local", ["--wrokers=2"])
    with pytest.raises(ConfigError, match="--attempts must be a number from 1, got '²'"):
        make_runner("DirectRunner", ["--attempts=²"])
    assert make_runner("DirectRunner", ["--direct_num_workers=²"]).num_workers == processors()


def test_a_pass_over_a_damaged_file_leaves_no_output(tmp_path):
    import tensorflow_transform as tft

    from engine import Dataset
    from transforms import analyze

    pq.write_table(pa.table({"x": np.arange(20000, dtype=np.float32)}), tmp_path / "a.parquet", compression="none")
    ds = Dataset.open(str(tmp_path / "a.parquet"))
    _ = ds.num_records
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[20:4000] = bytes(3980)
    stat = os.stat(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(content)
    os.utime(tmp_path / "a.parquet", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises((DataError, OSError)):
        analyze(ds, lambda inputs: {"x": tft.scale_to_z_score(inputs["x"])}, str(tmp_path / "graph"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet"]


@pytest.mark.parametrize("kind", ["vocabulary", "moments", "transform"])
def test_a_null_inside_a_list_is_refused_not_left_out(kind, tmp_path):
    schema = pa.schema([("words", pa.list_(pa.binary())), ("numbers", pa.list_(pa.int64()))])
    rows = [{"words": [b"a", b"b"], "numbers": [1]}, {"words": None, "numbers": None}]
    bad = {"words": [b"a", None], "numbers": [1]} if kind == "vocabulary" else {"words": [], "numbers": [None, 2]}
    for name, last in (("good", rows[1]), ("bad", bad)):
        batch = pa.RecordBatch.from_pylist([*rows, last], schema)
        write_batches([batch], schema, str(tmp_path / f"{name}.parquet"))

    def preprocessing_fn(inputs):
        import tensorflow as tf
        import tensorflow_transform as tft

        if kind == "vocabulary":
            return {"words": tft.compute_and_apply_vocabulary(inputs["words"])}
        return {"numbers": tft.scale_to_z_score(tf.cast(inputs["numbers"], tf.float32))}

    good, bad_data = (Dataset.open(tmp_path / f"{name}.parquet") for name in ("good", "bad"))
    assert analyze(good, preprocessing_fn, tmp_path / "graph").records == 3
    column = "words" if kind == "vocabulary" else "numbers"
    with pytest.raises(DataError, match=f"column '{column}' holds a null inside a list"):
        if kind == "transform":
            transform(bad_data, tmp_path / "graph", tmp_path / "out")
        else:
            analyze(bad_data, preprocessing_fn, tmp_path / "other")
    assert not (tmp_path / "other").exists() and not (tmp_path / "out").exists()
