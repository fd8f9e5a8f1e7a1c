"""Data, preprocessing functions and comparisons that the Flink and Spark tests share."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from engine import DataError, Dataset
from tests.support.ports import listening, tree
from transforms import analyze, statistics, transform

ROWS = 60_000
SPLIT_BYTES = 200_000
NUM_VOCABULARIES = 12


def write_rows(directory: Path, rows: int = ROWS, files: int = 3) -> Path:
    """Writes seeded rows as Parquet and returns the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(11)
    for number in range(files):
        count = rows // files
        columns: dict[str, Any] = {"x": rng.normal(3, 2, count).astype(np.float32)}
        for index in range(NUM_VOCABULARIES):
            tokens = rng.zipf(1.2 + index / 10, count) % (500 * (index + 1))
            columns[f"s{index}"] = pa.array([f"token {token}" for token in tokens])
        pq.write_table(pa.table(columns), directory / f"rows-{number}.parquet", row_group_size=2_500)
    return directory


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Two phases, every kind of accumulator that a runner has to carry."""
    import tensorflow as tf
    import tensorflow_transform as tft

    out = {
        "z": tft.scale_to_z_score(inputs["x"]),
        "bucket": tft.bucketize(inputs["x"], 7),
        "range": tft.scale_to_0_1(tf.math.exp(tft.scale_to_z_score(inputs["x"]))),  # second phase
    }
    for index in range(NUM_VOCABULARIES):
        out[f"id{index}"] = tft.compute_and_apply_vocabulary(
            inputs[f"s{index}"], top_k=300 if index % 2 else None, vocab_filename=f"vocabulary_{index}"
        )
    return out


def slow_preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Takes about half a second a batch of 2,500 rows, so that there is time to kill a worker; finds what `brief_preprocessing_fn` does."""
    import tensorflow as tf

    matrix = tf.random.stateless_uniform([400, 400], seed=[1, 2]) / 400
    batch = tf.cast(tf.size(inputs["x"]), tf.float32)
    product = tf.while_loop(
        lambda step, value: step < 75,
        lambda step, value: (step + 1, tf.clip_by_value(tf.matmul(value, matrix) + 1e-6 * batch, 0.0, 1.0)),
        [0, matrix],
        parallel_iterations=1,
    )[1]
    return brief_preprocessing_fn({**inputs, "x": inputs["x"] + tf.reduce_sum(product) * 0.0})


def brief_preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """One phase, two outputs."""
    import tensorflow_transform as tft

    return {
        "z": tft.scale_to_z_score(inputs["x"]),
        "id": tft.compute_and_apply_vocabulary(inputs["s0"], vocab_filename="vocabulary_0"),
    }


def results_of(graph: Path, vocabularies: int = NUM_VOCABULARIES) -> dict[str, Any]:
    """Returns what an analysis of so many text columns found: vocabulary files and what the graph makes of some values, bit by bit."""
    import tensorflow as tf
    from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

    directory = graph / "transform_fn"
    found: dict[str, Any] = {path.name: path.read_bytes() for path in sorted((directory / "assets").iterdir())}
    loader = SavedModelLoader(str(directory))
    names = [f"s{index}" for index in range(vocabularies)]
    features = {name: tf.constant([b"token 1", b"no such token"]) for name in names}
    features["x"] = tf.constant([1.5, -2.0], tf.float32)
    for name, value in loader.apply_transform_model(features).items():
        found[f"feature {name}"] = value.numpy().tobytes()
    return found


def rows_of(directory: Path) -> pa.Table:
    """Returns all rows of the shards, in the order of the shards."""
    return pa.concat_tables([pq.read_table(path) for path in sorted(directory.glob("*.parquet"))])


def _is_worker(command: bytes) -> bool:
    return b"sdk_worker_main" in command or b"SdkHarness" in command  # started by boot, or by a worker pool


def worker_pids(session_id: int) -> list[int]:
    """Returns the Beam Python workers among the descendants of a server (they share its session)."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            pid = int(entry.name)
            if os.getsid(pid) == session_id and _is_worker((entry / "cmdline").read_bytes()):
                found.append(pid)
    return found


@contextlib.contextmanager
def killing_a_worker(session_id: int, work_dir: Path) -> Iterator[list[int]]:
    """Kills the Python workers of a server, once, when the first split is done; yields the list of those killed."""
    killed: list[int] = []

    def kill() -> None:
        if not killed and any(work_dir.glob("*/rows-*")):
            for pid in worker_pids(session_id):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    with _repeatedly(kill, 0.05):
        yield killed


@contextlib.contextmanager
def _repeatedly(call: Callable[[], None], every_s: float) -> Iterator[None]:
    """Calls something again and again in a thread beside the block."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(every_s):
            call()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def analyze_on(runner: str, options: list[str], data: Dataset, graph: Path, function: Any = preprocessing_fn) -> Any:
    """Returns the report of an analysis in many splits on a runner."""
    splits = {"target_split_bytes": SPLIT_BYTES}
    return analyze(data, function, str(graph), runner=runner, runner_options=options, **splits)


def check_embedded_analysis(runner: str, options: list[str], data: Dataset, local: Path, folder: Path) -> None:
    """Fails where a cluster inside the job server finds anything else than this machine did in `local`, or listens to the network."""
    with listened_on() as found:
        analyze_on(runner, options, data, folder / "graph")
    assert results_of(folder / "graph") == results_of(local)
    assert len(found) > 2 and {host for host, _ in found} == {"127.0.0.1"}, found


@contextlib.contextmanager
def listened_on() -> Iterator[set[tuple[str, int]]]:
    """Gathers what this process and the children that it starts in the block listen on."""
    earlier, found = {*tree(os.getpid())} - {os.getpid()}, set[tuple[str, int]]()
    before = listening([os.getpid()])
    with _repeatedly(lambda: found.update(listening({*tree(os.getpid())} - earlier) - before), 0.2):
        yield found


def check_statistics(runner: str, options: list[str], rows: Dataset) -> None:
    """Statistics on the cluster are those of this machine, bit for bit."""
    found, here = (
        statistics(rows, runner=name, runner_options=given, features=["x", "s0", "s3"], target_split_bytes=SPLIT_BYTES)
        for name, given in ((runner, options), ("local", []))
    )
    assert found.records == ROWS and found.statistics == here.statistics


def check_joint_pass(runner: str, options: list[str], rows: Dataset, folder: Path) -> None:
    """An analysis with statistics and label shares in one pass on the cluster finds what two passes on this machine do."""
    for path in map(Path, rows.paths):
        table = pq.read_table(path, columns=["x", "s0"])
        labelled = table.append_column("label", pc.greater(table["x"], 4.0))
        pq.write_table(labelled, folder / path.name, row_group_size=2_500)
    data = Dataset.open(str(folder / "*.parquet"))
    extra: dict[str, Any] = {"slices": ["label"], "labels": ["label", "s0"], "target_split_bytes": SPLIT_BYTES}
    stats = folder / "stats"
    report = analyze(data, brief_preprocessing_fn, folder / runner, runner, options, stats=stats, **extra)
    analyze(data, brief_preprocessing_fn, folder / "local")
    here = statistics(data, folder / "expected", **extra)
    assert (report.phases, report.records, report.label_shares) == (1, ROWS, here.label_shares)
    assert results_of(folder / runner, 1) == results_of(folder / "local", 1)
    taken, expected = (
        {path.name: path.read_bytes() for path in found.iterdir()} for found in (stats, folder / "expected")
    )
    assert taken == expected and len(taken) == 5


def check_transform(runner: str, options: list[str], data: Dataset, local: Path, folder: Path) -> None:
    """Fails where the shards that a runner writes with the graph `local` differ from this machine's."""
    transform(data, str(local), str(folder / "ours"), num_shards=5)
    transform(data, str(local), str(folder / runner), num_shards=5, runner=runner, runner_options=options)
    assert rows_of(folder / runner).equals(rows_of(folder / "ours"))


def check_killed_worker(runner: str, options: list[str], session_id: int, data: Dataset, folder: Path) -> None:
    """Fails where the death of the Python workers of a server, in the middle of a pass, changes its result."""
    analyze(data, brief_preprocessing_fn, str(folder / "local"))
    work = folder / "work"
    work.mkdir()
    with killing_a_worker(session_id, work) as killed:
        analyze_on(runner, [*options, f"--work_dir={work}"], data, folder / "graph", slow_preprocessing_fn)
    assert killed, "no worker was killed: the pass was over too soon"
    assert results_of(folder / "graph") == results_of(folder / "local")


def check_failed_job(runner: str, options: list[str], folder: Path) -> None:
    """Fails where damage that only a worker can see is not told with its file, or anything is left of the output."""
    rows = write_rows(folder / "rows", 6_000)
    data = Dataset.open(str(rows / "*.parquet"))
    broken = rows / "rows-1.parquet"
    content = bytearray(broken.read_bytes())
    content[12_000:14_000] = bytes(2_000)  # compressed pages, not the footer: only a worker that reads them can know
    broken.write_bytes(content)
    out = folder / "out"
    with pytest.raises(DataError, match=r"rows-1\.parquet"):
        analyze(data, preprocessing_fn, str(out / "graph"), runner=runner, runner_options=options)
    assert not out.exists() or not list(out.iterdir())
