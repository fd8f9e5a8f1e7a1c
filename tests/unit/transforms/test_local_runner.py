"""The local runner: one state a thread where order changes nothing, the same bits for any number of workers, errors that explain."""

from __future__ import annotations

import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from engine import Dataset
from engine.core.progress import Progress
from engine.machine import garbage
from transforms import analyze
from transforms.passes import analysis
from transforms.runners.first_batch import FirstBatch
from transforms.runners.local import LocalRunner
from transforms.tft.session_call import prepared_call

SPLITS = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "rows.parquet"
    rng = np.random.default_rng(4)
    rows = SPLITS * 100
    table = pa.table(
        {
            "x": rng.normal(size=rows).astype(np.float32),
            "w": rng.random(rows).astype(np.float32),
            "word": pa.array([b"w%d" % each for each in rng.integers(0, 40, rows)], pa.binary()),
        }
    )
    pq.write_table(table, path, row_group_size=100)
    spec = {name: tf.io.FixedLenFeature([], tf.string if name == "word" else tf.float32) for name in table.column_names}
    return Dataset.open(str(path), spec)


def everything(inputs):
    lower = tf.strings.lower(inputs["word"])
    return {
        "z": tft.scale_to_z_score(inputs["x"]),
        "id": tft.compute_and_apply_vocabulary(lower, vocab_filename="plain"),
        "heavy": tft.compute_and_apply_vocabulary(lower, weights=inputs["w"], vocab_filename="weighted"),
        "bucket": tft.bucketize(inputs["x"], 4),
    }


def test_states_that_order_does_not_change_go_on_over_splits(data, tmp_path, monkeypatch):
    merged = []
    merge_part = analysis.merge_part

    def noting(analyzers, key, blobs):
        merged.append((analyzers[key[0]].accumulator, len(blobs)))
        return merge_part(analyzers, key, blobs)

    monkeypatch.setattr(analysis, "merge_part", noting)
    found = {}
    for workers in (1, 3):
        merged.clear()
        out = tmp_path / str(workers)
        analyze(data, everything, str(out), runner_options=[f"--workers={workers}"], target_split_bytes=1)
        free = {count for accumulator, count in merged if accumulator.order_free}
        assert free and max(free) <= workers
        assert {count for accumulator, count in merged if not accumulator.order_free} == {SPLITS}
        model = out / "transform_fn"
        files = [*sorted((model / "assets").iterdir()), model / "assets.extra" / "analyzer_results.json"]
        found[workers] = [file.read_bytes() for file in files]
    assert found[1] == found[3] and len(found[1]) == 3


class _Noting:
    """A pass that notes in which order and by how many threads batches come."""

    holds_lock = carries = False
    portable = True

    def __init__(self):
        self.log, self.threads = [], set()

    def open(self):
        return self

    def read(self, split):
        self.log.append(("read", split))
        yield pa.record_batch({"x": pa.array([split])})

    def accumulate(self, batches):
        for batch in batches:
            time.sleep(0.02)  # others would read meanwhile
            self.log.append(("done", batch.column(0)[0].as_py()))
        self.threads.add(threading.get_ident())
        self.rows = 1
        return self

    def encode(self, state):
        return {(0, 0): b"x"}

    def merge(self, key, blobs):
        return blobs[0]

    def close(self):
        pass


def test_the_first_batch_goes_alone_and_few_threads_follow():
    noting = _Noting()
    with Progress("pass", 20, "rows") as progress:
        result = LocalRunner(["--workers=16"]).accumulate(noting, noting, list(range(20)), progress)
    assert noting.log[:2] == [("read", 0), ("done", 0)]
    assert len(result.split_rows) == 20 and len(noting.threads) <= 9  # the calling one, and eight


class _Together(_Noting):
    """One whose splits, or shards, wait until as many run at once as are expected: for ever, if they never did."""

    portable = False

    def __init__(self, expected):
        super().__init__()
        self._all_here = threading.Barrier(expected)

    def accumulate(self, batches):
        state = super().accumulate(batches)
        self._all_here.wait(60)
        return state

    def run(self, task, reader, watch):
        return self.accumulate(watch(reader.read(task)))


def test_a_pass_gets_eight_threads_and_transform_four():
    analysis_pass, transformation = _Together(8), _Together(4)
    with Progress("pass", 16, "rows") as progress:
        LocalRunner(["--workers=16"]).accumulate(analysis_pass, analysis_pass, range(16), progress)
        LocalRunner(["--workers=16"]).transform(transformation, transformation, range(16), progress)
    assert (len(analysis_pass.threads), len(transformation.threads)) == (8, 4)


class _Measured(_Noting):
    """One whose first batch, once measured, waits until another is read: for ever, if it had to end first."""

    def after_measuring(self, call):
        self.call, self.other = call, threading.Event()

    def read(self, split):
        if split:
            self.other.set()
        yield from super().read(split)

    def accumulate(self, batches):
        def measured():
            for batch in batches:
                if not batch.column(0)[0].as_py():
                    assert not self.other.is_set()
                    self.call()
                    assert self.other.wait(60)
                yield batch

        return super().accumulate(measured())


def test_others_begin_when_the_first_records_are_measured():
    measured = _Measured()
    with Progress("pass", 4, "rows") as progress:
        assert len(LocalRunner(["--workers=2"]).accumulate(measured, measured, range(4), progress).split_rows) == 4


def test_who_waits_for_a_first_batch_that_a_signal_cancelled_is_let_go():
    with pytest.raises(KeyboardInterrupt), ThreadPoolExecutor(1) as pool, FirstBatch(None) as first:
        waiting = pool.submit(first.before_others(1).__enter__)
        raise KeyboardInterrupt
    assert waiting.done()


def test_a_prepared_call_takes_zeros_and_repeated_fetches_and_names_what_fails():
    with tf.Graph().as_default() as graph:
        text = tf.compat.v1.placeholder(tf.string, [])
        size = tf.compat.v1.placeholder(tf.float32, [])
        length = tf.strings.length(text)
        checked = tf.debugging.check_numerics(size, "no number", name="the_check")
        with tf.compat.v1.Session(graph=graph) as session:
            call = prepared_call(session, [text, size], [length, text + b"!", length, checked])
            assert call(b"a\0\0", 2) == [3, b"a\0\0!", 3, 2.0]
            with pytest.raises(tf.errors.InvalidArgumentError, match="the_check"):
                call(b"a", float("nan"))


def test_a_traced_graph_does_not_outlive_its_analysis(data, tmp_path, monkeypatch):
    graphs = []

    def noting(inputs):
        graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
        return everything(inputs)

    monkeypatch.setattr(garbage, "GROWTH", 0.0)  # small graphs would wait until they are many
    for number in range(2):
        analyze(data, noting, str(tmp_path / str(number)))
    assert len(graphs) >= 2 and all(graph() is None for graph in graphs)
