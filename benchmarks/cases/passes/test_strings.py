"""Full passes over strings that the graph makes: by workers, against raw columns, against TensorFlow Transform.

13 z-scores and 26 vocabularies of `tf.strings.lower(column)` on rows shaped like Criteo's. `FULLPASS_BENCH_ROWS` sets their number
(500,000; the floors are meant for 2,000,000 on a quiet machine).
"""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.data import criteo
from benchmarks.peers.registry import PEERS
from cluster.benchmarking.pairs import paired
from cluster.benchmarking.passes import tft_run, vocabularies
from cluster.benchmarking.results import record_pair
from engine import Dataset

tf = pytest.importorskip("tensorflow")
tft = pytest.importorskip("tensorflow_transform")

from transforms import analyze, transform  # noqa: E402

ROWS = int(os.environ.get("FULLPASS_BENCH_ROWS", "500000"))
TFT_ROWS = min(ROWS, int(os.environ.get("FULLPASS_BENCH_TFT_ROWS", "50000")))


def raw_fn(inputs):
    outputs = {f"I{i}": tft.scale_to_z_score(inputs[f"I{i}"]) for i in range(1, 14)}
    return outputs | {f"C{i}": _ids(inputs[f"C{i}"], i) for i in range(1, 27)}


def lower_fn(inputs):
    outputs = {f"I{i}": tft.scale_to_z_score(inputs[f"I{i}"]) for i in range(1, 14)}
    return outputs | {f"C{i}": _ids(tf.strings.lower(inputs[f"C{i}"]), i) for i in range(1, 27)}


def _ids(values, i):
    return tft.compute_and_apply_vocabulary(values, top_k=10_000, vocab_filename=f"C{i}")


def _spec():
    """A missing float is 0 for us; TFT takes no default, so the benchmark beside it fills them in the data."""
    return criteo.feature_spec()


def _data(rows: int) -> Dataset:
    return Dataset.open(criteo.file("parquet", num_rows=rows), _spec())


def _analysis(dataset: Dataset, fn, out, workers: int):
    return lambda: analyze(dataset, fn, str(out), runner_options=[f"--workers={workers}"])


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_two_workers_against_one(benchmark, tmp_path):
    """The ratio of wall time is the gain of the second core; that of processor time should stay near 1: nobody waits for a lock."""
    dataset = _data(ROWS)
    two, one = (_analysis(dataset, lower_fn, tmp_path / str(n), n) for n in (2, 1))
    result = paired(two, one, rounds=5)
    assert vocabularies(tmp_path / "1") == vocabularies(tmp_path / "2") != {}
    record_pair(benchmark, result, "one worker", ROWS, what="analyze strings of the graph by two workers")
    benchmark.pedantic(two, rounds=1)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_strings_of_the_graph_against_raw_columns(benchmark, tmp_path):
    """One worker: the ratio is the rate beside that of columns which never enter TensorFlow."""
    dataset = _data(ROWS)
    made, raw = _analysis(dataset, lower_fn, tmp_path / "a", 1), _analysis(dataset, raw_fn, tmp_path / "b", 1)
    result = paired(made, raw, rounds=5)
    assert vocabularies(tmp_path / "a") == vocabularies(tmp_path / "b") != {}  # the words are in lower case already
    record_pair(benchmark, result, "raw columns", ROWS, what="analyze strings of the graph")
    benchmark.pedantic(made, rounds=1)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_analyze_and_transform_by_workers(benchmark, tmp_path):
    dataset = _data(ROWS)

    def run(workers: int) -> None:
        options = [f"--workers={workers}"]
        analyze(dataset, lower_fn, str(tmp_path / "graph"), runner_options=options)
        transform(dataset, str(tmp_path / "graph"), str(tmp_path / f"out{workers}"), runner_options=options)

    result = paired(lambda: run(2), lambda: run(1), rounds=5)
    one, two = (Dataset.open(str(tmp_path / f"out{n}")) for n in (1, 2))
    assert one.num_records == two.num_records == ROWS
    for left, right in zip(one.read_batches(), two.read_batches()):
        assert left.equals(right)
    record_pair(benchmark, result, "one worker", ROWS, what="analyze and transform strings by two workers")
    benchmark.pedantic(lambda: run(2), rounds=1)


@pytest.mark.full
@pytest.mark.timeout(7200)
def test_strings_of_the_graph_against_tft(benchmark, tmp_path):
    spec = {name: tf.io.FixedLenFeature([], each.dtype) for name, each in _spec().items()}
    filled, path = pa.table(_filled(TFT_ROWS)), str(tmp_path / "rows.parquet")
    pq.write_table(filled, path)
    Dataset.open(path, spec).write(str(tmp_path / "records"), "tfrecord", 1)
    (file,) = Dataset.open(str(tmp_path / "records")).paths
    (tmp_path / "tft").mkdir()

    def peer():
        tft_run(file, spec, lower_fn, tmp_path / "tft")

    dataset = _data(ROWS)
    ours = _analysis(dataset, lower_fn, tmp_path / "ours", os.cpu_count() or 1)
    result = paired(ours, peer, rounds=5, ours_size=ROWS, peer_size=TFT_ROWS, warm_up=False)
    analyze(Dataset.open(file, spec), lower_fn, str(tmp_path / "same"))
    assert vocabularies(tmp_path / "same") == vocabularies(tmp_path / "tft" / "graph") != {}
    record_pair(
        benchmark,
        result,
        PEERS["tft"].title,
        ROWS,
        what="analyze strings of the graph",
        package=PEERS["tft"].package,
    )
    benchmark.pedantic(ours, rounds=1)


def _filled(rows: int) -> dict:
    table = pa.Table.from_batches(criteo.batches(rows))
    return {name: table[name].fill_null(0) if name[0] == "I" else table[name] for name in table.column_names}
