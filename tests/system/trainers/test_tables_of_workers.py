"""A table divided over workers or parameter servers learns what one worker's does; its checkpoints are joined, and read by any number.

FULLPASS_LARGE=1 adds a table of 10,000,000 x 64, which takes 6 GB of disk and memory.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.machine.ports import free_ports
from tests.support.eventually import eventually
from tests.support.forks import run_forked, start_forked
from tests.support.table_target import build_with_table, columns
from trainers.checkpoints.checkpoint import load_checkpoint
from trainers.checkpoints.directory import checkpoint_path
from trainers.supervision.local_group import LocalGroup
from trainers.supervision.tf_config import tf_config

ROOT = str(Path(__file__).parents[3])
LARGE = os.environ.get("FULLPASS_LARGE") == "1"
TRAIN = "import sys; from tests.support.table_target import train; train(*sys.argv[1:])"


def run(directory: Path, name: str, workers: int, servers: int = 0, **settings) -> Path:
    """Trains and returns the directory of the training."""
    words = (str(directory / name), json.dumps(settings))
    if servers:
        on_servers(words, workers, servers)
    elif workers == 1:
        code, _, said = run_forked(TRAIN, *words, timeout=1200)
        assert code == 0, said[-4000:]
    else:
        logs, target = directory / f"logs-{name}", ["tests.support.table_target:train", *words]
        running = LocalGroup(workers, target, logs, env={"PYTHONPATH": ROOT}).start()
        try:
            assert running.wait(timeout_s=1200) == 0, (logs / "worker-0.log").read_text()[-4000:]
        finally:
            running.stop(grace_s=0.0)
    return directory / name


def on_servers(words: tuple[str, ...], workers: int, servers: int) -> None:
    """Trains on a chief, workers and parameter servers, which serve until they are killed."""
    for _ in range(4):  # another program may take a port before it is used
        code, said = try_on_servers(words, {"chief": 1, "worker": workers, "ps": servers})
        if code == 0:
            return
    raise AssertionError(said)


def try_on_servers(words: tuple[str, ...], sizes: dict[str, int]) -> tuple[int | None, str]:
    """Returns the chief's exit code and what all said."""
    ports = iter(free_ports(sum(sizes.values())))
    addresses = {kind: [f"127.0.0.1:{next(ports)}" for _ in range(size)] for kind, size in sizes.items()}
    tasks = [(kind, index) for kind, size in sizes.items() for index in range(size)]
    configs = [tf_config(addresses, *task) for task in tasks]
    members = [start_forked(TRAIN, *words, env={**os.environ, "TF_CONFIG": each}) for each in configs]
    try:
        eventually(lambda: any(each.poll() is not None for each in members), "the training has ended", 1200)
        code = members[0].poll()
    finally:
        for each in members:
            each.send_signal(signal.SIGKILL)
        said = "".join(each.communicate()[1][-4000:] for each in members)
    return code, said


def tensors(directory: Path | str, group: str = "table") -> dict[str, np.ndarray]:
    saved = load_checkpoint(str(directory)).tensors(group)
    return {key.partition(":")[2]: value.numpy() for key, value in saved.items()}


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    """Returns the directory of an uninterrupted training of one worker."""
    return run(tmp_path_factory.mktemp("alone"), "one", 1, clip_norm=0.5, steps=14, masked=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_workers_learn_what_one_does_and_one_goes_on_from_their_checkpoint(one, tmp_path):
    two = run(tmp_path, "two", 2, clip_norm=0.5, masked=True)
    assert load_checkpoint(str(two)).state["table_ranges"]["items/rows"] == [[0, 500], [500, 501]]
    assert not list((two / "checkpoints").glob(".parts-*"))
    same(two, checkpoint_path(str(one), 8))
    scores = [load_checkpoint(str(d)).state["training"]["history"][0]["loss"] for d in (one, two)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)
    scores = [load_checkpoint(str(d / "masked")).state["training"]["history"][0]["loss"] for d in (one, two)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)
    # Resumed by one worker, the run of two is what it would have been; rows that no batch has keep their bits.
    before = tensors(two)
    run(tmp_path, "two", 1, clip_norm=0.5, steps=14)
    same(two, one)
    unread = np.setdiff1d(np.arange(1001), columns(1001)["ids"])
    assert len(unread)
    for name, value in tensors(two).items():
        np.testing.assert_array_equal(value[unread], before[name][unread])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_servers_hold_parts_of_a_table_whose_checkpoint_is_exported_and_resumed_as_a_whole(one, tmp_path):
    import tensorflow as tf

    from trainers import ArrayDataset
    from trainers.export.from_checkpoint import export_checkpoint

    # With one worker the order of updates is fixed: what it learns is what one process learns.
    done = run(tmp_path, "servers", 1, servers=2, clip_norm=0.5)
    saved = load_checkpoint(str(done))
    assert saved.state["strategy"]["name"] == "parameter_server"
    assert saved.state["table_ranges"] == {f"items/{name}": [[0, 501], [501, 500]] for name in ("rows", "accumulator")}
    same(done, checkpoint_path(str(one), 8))
    scores = [load_checkpoint(str(d)).state["training"]["history"][0]["loss"] for d in (one, done)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)

    ids = columns(1001)["ids"][:32]
    spec = dict(ArrayDataset(columns(1001)).feature_spec())
    answers = []
    for number, directory in enumerate((str(done), checkpoint_path(str(one), 8))):
        out = tmp_path / f"models-{number}"
        version = export_checkpoint(directory, build_with_table(), out, transform_graph=None, raw_feature_spec=spec)
        served = tf.saved_model.load(str(version)).signatures["raw_features"](ids=tf.constant(ids))
        answers.append(next(iter(served.values())).numpy())
    np.testing.assert_allclose(*answers, rtol=1e-4)
    assert len(np.unique(answers[0])) > 16

    run(tmp_path, "servers", 1, clip_norm=0.5, steps=14)
    same(done, one)


def same(found: Path | str, expected: Path | str) -> None:
    for group in ("table", "model"):
        left, right = tensors(found, group), tensors(expected, group)
        assert left.keys() == right.keys()
        for name, value in right.items():
            np.testing.assert_allclose(left[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.skipif(not LARGE, reason="takes 6 GB of memory and of disk: FULLPASS_LARGE=1 runs it")
@pytest.mark.timeout(3600)
def test_ten_million_rows_over_two_workers(tmp_path):
    rows, width = 10_000_000, 64
    done = run(tmp_path, "large", 2, rows=rows, width=width, optimizer="sgd", evaluate=False, keep=1)
    saved = load_checkpoint(str(done))
    assert [entry[1] for entry in saved.state["variables"]["table"]] == [[rows, width]]
    half = rows // 2 * width * 4
    for worker in range(2):
        peak = int((done / f"peak-{worker}").read_text())
        sys.stderr.write(f"worker {worker}: {peak / 2**30:.2f} GiB at most, its rows {half / 2**30:.2f} GiB\n")
        assert peak < 3 * half, "a worker held more than its own rows"
