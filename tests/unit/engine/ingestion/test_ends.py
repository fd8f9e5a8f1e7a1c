"""However an ingest ends, a directory is whole or not there, and what killed runs left is removed by the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import DataError, Dataset, ingest, open_source
from engine.dataset.sharding import write_shards
from engine.formats.parquet.writer import ROW_GROUP_BYTES
from engine.storage import atomic
from tests.support.eventually import eventually


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in" / "a.csv"
    path.parent.mkdir()
    path.write_text("a,b\n" + "1,hello\n" * 3_000_000)
    return path


def start(source, out):
    # Where the tests run in the background of a shell, SIGINT is ignored, and so by all that they start.
    command = [
        "env",
        "--default-signal=INT",
        sys.executable,
        "-m",
        "cluster.cli.main",
        "-q",
        "ingest",
        str(source),
        "--out",
        str(out),
    ]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for_leftover(folder, process):
    def begun():
        return any(name.startswith(".out.tmp-") for name in os.listdir(folder))

    def ended():
        return process.poll() is not None and (process.stderr.read() or "its end")

    eventually(begun, "the directory is begun", poll_s=0.01, unless=ended)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_nothing(source, tmp_path, number, code):
    process = start(source, tmp_path / "out")
    wait_for_leftover(tmp_path, process)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in error
    assert os.listdir(tmp_path) == ["in"]


def test_what_a_killed_run_left_is_removed_by_the_next(source, tmp_path):
    process = start(source, tmp_path / "out")
    wait_for_leftover(tmp_path, process)
    process.kill()
    process.communicate()
    assert len(os.listdir(tmp_path)) == 2
    (tmp_path / "in" / "b.csv").write_text("a\n1\n")
    ingest(tmp_path / "in" / "b.csv", tmp_path / "other", num_shards=1)  # another place: not its business
    assert any(name.startswith(".out.tmp-") for name in os.listdir(tmp_path))
    ingest(tmp_path / "in" / "b.csv", tmp_path / "out", num_shards=1)
    assert sorted(os.listdir(tmp_path)) == ["in", "other", "out"]


def test_a_directory_that_is_being_written_is_left_alone(tmp_path):
    with atomic.atomic_directory(tmp_path / "out") as first:
        (first / "x").write_text("1")
        assert atomic.remove_abandoned(tmp_path / "out") == []
        with atomic.atomic_directory(tmp_path / "out") as second:
            (second / "y").write_text("2")
        assert (tmp_path / "out" / "y").exists()
    assert os.listdir(tmp_path / "out") == ["x"] and os.listdir(tmp_path) == ["out"]


def test_a_file_that_changes_between_the_passes_is_read_as_it_was_or_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("a\n" + "1\n" * 1000)
    found = open_source(path)
    with open(path, "a") as file:
        file.write("2\n")
    ingest(found, tmp_path / "out", num_shards=2)
    assert Dataset.open(tmp_path / "out").num_records == 1000
    monkeypatch.setattr("engine.formats.csv.pieces.PIECE_BYTES", 64)
    path.write_text("a\n" + "01\n" * 1000 + "x\n")
    found = open_source(path)  # the spelling of its numbers is gone: parsed again
    path.write_text("a\n01\nx\n")
    with pytest.raises(DataError, match="gave 2 records in this pass and 1001 before; it changed in between"):
        ingest(found, tmp_path / "out", num_shards=2)


def test_row_groups_are_bounded_by_bytes(tmp_path):
    rows, width = 300, 1 << 20
    table = pa.table({"image": pa.array([b"%d" % i + b"x" * width for i in range(rows)], pa.binary())})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    ingest(tmp_path / "a.parquet", tmp_path / "out", num_shards=2)
    sizes = []
    for path in sorted((tmp_path / "out").glob("*.parquet")):
        metadata = pq.read_metadata(path)
        sizes += [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    assert len(sizes) > 3 and max(sizes) <= 1.1 * ROW_GROUP_BYTES
    read = pa.Table.from_batches(Dataset.open(tmp_path / "out").read_batches(batch_rows=10))
    assert read["image"].combine_chunks() == table["image"].combine_chunks()


def test_5000_columns_cost_no_square_of_them(tmp_path):
    """Python operations a column, counted and not timed: the same for 4,000 columns as for 1,000."""

    def calls(columns):
        path = tmp_path / f"{columns}.csv"
        path.write_text(",".join(f"c{i}" for i in range(columns)) + "\n" + ",".join("1" * columns) + "\n")
        counted = 0

        def count(frame, event, argument):
            nonlocal counted
            counted += 1

        sys.setprofile(count)
        try:
            open_source(path)
        finally:
            sys.setprofile(None)
        return counted / columns

    calls(10)
    assert calls(4000) < 1.5 * calls(1000)


def test_a_signal_while_a_thread_starts_leaves_nothing(tmp_path, monkeypatch):
    """A pool that is interrupted there does not know its thread, which went on writing, and made the directory anew."""
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"a": list(range(1000))}), tmp_path / "in" / "a.parquet")
    start, write, threads = threading.Thread.start, write_shards.write_batches, []

    def interrupted(thread):
        start(thread)
        if thread.name.startswith("fullpass-shards"):
            threads.append(thread)
            raise KeyboardInterrupt

    def slow(*args):
        time.sleep(0.3)  # the interrupt comes meanwhile
        return write(*args)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    monkeypatch.setattr(write_shards, "write_batches", slow)
    with pytest.raises(KeyboardInterrupt):
        ingest(tmp_path / "in", tmp_path / "out", num_shards=2)
    for thread in threads:
        thread.join(timeout=60)
    assert threads and os.listdir(tmp_path) == ["in"]
