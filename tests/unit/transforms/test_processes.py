"""Worker processes of the local runner: what they cannot do stays in threads, and what fails there is seen here."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from engine import Dataset
from engine.core.errors import ConfigError, FullpassError, NoRoom
from transforms import analyze
from transforms.passes.analysis import AnalysisPass
from transforms.passes.progress import PassProgress
from transforms.runners import process_worker
from transforms.runners.local import LocalRunner
from transforms.runners.processes import WorkerProcesses, shared_memory

OPTIONS = ["--workers=2", "--processes=always"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "rows.parquet"
    table = pa.table({"x": np.arange(600, dtype=np.float32), "key": pa.array([b"a", b"b", b"c"] * 200, pa.binary())})
    pq.write_table(table, path, row_group_size=100)
    spec = {"x": tf.io.FixedLenFeature([], tf.float32), "key": tf.io.FixedLenFeature([], tf.string)}
    return Dataset.open(str(path), spec)


def test_a_python_function_in_the_graph_stays_in_this_process(data, tmp_path):
    def double(inputs):
        x = tf.ensure_shape(tf.numpy_function(lambda x: x * np.float32(2), [inputs["x"]], tf.float32), [None])
        return {"x": tft.scale_to_0_1_per_key(x, inputs["key"])}

    report = analyze(data, double, str(tmp_path / "graph"), runner_options=OPTIONS, target_split_bytes=1)
    assert report.records == 600


class _Dies:
    """A reader whose worker is killed in the middle."""

    def read(self, split):
        os.kill(os.getpid(), signal.SIGKILL)


class _Fails:
    def read(self, split):
        raise ValueError(f"no {split}")


class _Raises:
    def __init__(self, error):
        self._error = error

    def read(self, split):
        raise self._error


class _RaisesOwn:
    def read(self, split):
        raise _Own("mine")


class _Own(Exception):
    def __reduce__(self):  # a pickle of it would have this run by whoever loads it
        return RuntimeError, ("not mine",)


@pytest.mark.parametrize(
    ("reader", "error", "message"),
    [
        (_Dies(), FullpassError, "ended in the middle"),
        (_Fails(), ValueError, "no s0"),
        (_Raises(NoRoom("no space left", path="a/b")), NoRoom, "^a/b: no space left$"),
        (_Raises(KeyError("x")), KeyError, "^'x'$"),
        (_Raises(FileNotFoundError(2, "gone", "f")), FileNotFoundError, r"^\[Errno 2\] gone: 'f'$"),
        (_RaisesOwn(), FullpassError, "^_Own: mine$"),
    ],
)
def test_what_goes_wrong_in_a_worker_is_raised_here(reader, error, message):
    plan = AnalysisPass(analyzers=(), function=None, source=None)
    with pytest.raises(error, match=message), WorkerProcesses(plan, reader, 1) as workers:
        workers.accumulate([(0, "s0")], lambda rows: None)


def test_a_long_tmpdir_has_room_for_states_and_the_socket_is_elsewhere(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setattr("transforms.runners.processes.shared_memory", lambda: None)
    plan = AnalysisPass(analyzers=(), function=None, source=None)
    with WorkerProcesses(plan, _Fails(), 1) as workers:
        assert workers._directory.startswith(str(long))
    assert os.listdir(long) == []


@pytest.mark.parametrize("place", ["beside the module", "in the working directory"])
def test_a_users_file_with_a_name_of_pythons_is_not_taken_for_it(tmp_path, monkeypatch, place):
    for name in ("random", "queue", "runpy"):
        (tmp_path / f"{name}.py").write_text('raise SystemExit("not Python\'s")\n')
    (tmp_path / "own_reader.py").write_text(
        "class Fails:\n    def read(self, split):\n        raise ValueError('no s0')\n"
    )
    if place == "beside the module":  # whose directory is first on the path
        monkeypatch.syspath_prepend(str(tmp_path))
    else:
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend("")
    reader = importlib.import_module("own_reader").Fails()
    plan = AnalysisPass(analyzers=(), function=None, source=None)
    try:
        with WorkerProcesses(plan, reader, 1) as workers, pytest.raises(ValueError, match="no s0"):
            workers.accumulate([(0, "s0")], lambda rows: None)
    finally:
        del sys.modules["own_reader"]


def test_long_passes_of_python_go_to_processes_after_the_first_split(data, tmp_path, monkeypatch):
    def by_key(inputs):
        return {"z": tft.scale_to_z_score_per_key(inputs["x"], inputs["key"])}

    begun = []
    enter = WorkerProcesses.__enter__
    monkeypatch.setattr(WorkerProcesses, "__enter__", lambda self: begun.append(self._count) or enter(self))
    restarted = []  # the clock of the rate: the imports of processes would count as slow reading
    monkeypatch.setattr(PassProgress, "restart_clock", lambda self: restarted.append(self.done))
    monkeypatch.setattr(LocalRunner, "long_pass_s", 0.0)
    report = analyze(data, by_key, str(tmp_path / "graph"), runner_options=["--workers=2"], target_split_bytes=1)
    assert report.records == 600 and begun == [2] and restarted == [100]


class _Joins:
    """A pass that merges by joining."""

    def merge(self, key, blobs):
        return b"%d:" % key[0] + b"".join(blobs)


def test_a_worker_reads_the_index_of_a_split_once_for_all_that_it_merges(tmp_path, monkeypatch):
    read, read_parts = [], process_worker.read_parts
    monkeypatch.setattr(process_worker, "read_parts", lambda path: read.append(path) or read_parts(path))
    for number in range(3):
        parts = {(key, 0): b"%d%d" % (key, number) for key in range(5)}
        process_worker.write_split(str(tmp_path), number, parts, 1)
    worker = process_worker.Worker(_Joins(), None, None, str(tmp_path))
    merged = [worker.answer(("merge", (key, 0), [0, 1, 2]), None)[1] for key in range(5)]
    assert merged == [b"%d:%d0%d1%d2" % (key, key, key, key) for key in range(5)]
    assert len(read) == 3


def test_options_of_the_local_runner_are_checked():
    for option in ("--workers=0", "--workers=²", "--processes=perhaps", "--other=1"):
        with pytest.raises(ConfigError, match="--processes=auto, always or never"):
            LocalRunner([option])


def test_a_small_shared_memory_is_left_alone():
    assert shared_memory(least_bytes=1 << 62) is None
    assert shared_memory(least_bytes=0) == ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
