"""What comes through a pipe is kept and read, of whatever format it is; a reader that would come back to a pipe is refused."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import threading

import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from cluster.cli.main import main
from engine import DataError, Dataset, ingest, open_source
from engine.dataset.write import write_batches

ROWS = 300
TABLE = pa.table({"x": list(range(ROWS)), "s": [f"s{i}" for i in range(ROWS)]})


def as_ipc(new, table):
    sink = io.BytesIO()
    with new(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def as_shard(folder, **options):
    write_batches(TABLE.to_batches(), TABLE.schema, str(folder / "a"), format="tfrecord", **options)
    return (folder / "a").read_bytes()


def as_sink(write, table):
    sink = io.BytesIO()
    write(table, sink)
    return sink.getvalue()


def as_avro(_):
    import fastavro

    fields = [{"name": "x", "type": "long"}, {"name": "s", "type": "string"}]
    sink = io.BytesIO()
    fastavro.writer(sink, {"type": "record", "name": "r", "fields": fields}, TABLE.to_pylist())
    return sink.getvalue()


LINES = b"".join(json.dumps(row).encode() + b"\n" for row in TABLE.to_pylist())
CSV = b"x,s\n" + b"".join(f"{row['x']},{row['s']}\n".encode() for row in TABLE.to_pylist())
WRITERS = {
    "csv": lambda _: CSV,
    "csv.gz": lambda _: gzip.compress(CSV),
    "jsonl": lambda _: LINES,
    "jsonl.gz": lambda _: gzip.compress(LINES),
    "arrow stream": lambda _: as_ipc(pa.ipc.new_stream, TABLE),
    "arrow file": lambda _: as_ipc(pa.ipc.new_file, TABLE),
    "parquet": lambda _: as_sink(pq.write_table, TABLE),
    "orc": lambda _: as_sink(orc.write_table, TABLE),
    "avro": as_avro,
    "tfrecord": as_shard,
    "tfrecord.gz": lambda folder: as_shard(folder, compression="gzip"),
}


@contextlib.contextmanager
def piped(data):
    """The name of a pipe that the data come through once, as a shell makes of `<(...)`."""
    reader, writer = os.pipe()

    def write():
        with contextlib.suppress(BrokenPipeError), open(writer, "wb") as file:
            file.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)
        thread.join()


def open_without_a_name():
    """Files of no name that this process has open, or mapped."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # another thread has closed it
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    with open("/proc/self/maps", errors="surrogateescape") as maps:  # another test may have mapped a file of any name
        found += [line.split(maxsplit=5)[-1] for line in maps if "/" in line]
    return {name.strip() for name in found if name.strip().endswith("(deleted)") and "memfd" not in name}


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux says what is open")
@pytest.mark.parametrize("kind", WRITERS)
def test_any_format_through_a_pipe(tmp_path, kind):
    before = open_without_a_name()
    with piped(WRITERS[kind](tmp_path)) as pipe:
        assert ingest(pipe, tmp_path / "out", num_shards=2).num_records == ROWS
    assert open_without_a_name() <= before, "what came through the pipe still takes disk space"
    found = pa.Table.from_batches(Dataset.open(tmp_path / "out").read_batches())
    texts = [text.decode() if isinstance(text, bytes) else text for text in found["s"].to_pylist()]
    assert found["x"].to_pylist() == TABLE["x"].to_pylist() and texts == TABLE["s"].to_pylist()


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != "csv"])
def test_damage_in_a_pipe_is_of_the_pipe(tmp_path, kind):
    data = WRITERS[kind](tmp_path)
    with piped(data[: len(data) * 2 // 3]) as pipe:
        with pytest.raises(DataError) as found:
            ingest(pipe, tmp_path / "out", num_shards=2)
        assert str(found.value).startswith(pipe) and "/proc/" not in str(found.value)
    assert not (tmp_path / "out").exists()


def test_standard_input_and_a_part_from_a_pipe(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(LINES)))
    assert main(["-q", "ingest", "-", "--out", str(tmp_path / "out"), "--num-shards", "1"]) == 0
    assert f"all: {ROWS} records in 1 shards" in capsys.readouterr().out
    with piped(LINES) as train, piped(LINES) as test:
        counts = ingest({"train": train, "eval": test}, tmp_path / "parts", num_shards=1).parts
    assert {name: manifest.num_records for name, manifest in counts.items()} == {"train": ROWS, "eval": ROWS}


def test_what_came_through_a_pipe_can_be_read_again(tmp_path):
    with piped(LINES) as pipe:
        read = open_source(pipe).parts[0].read
    assert sum(batch.num_rows for batch in read()) == sum(batch.num_rows for batch in read()) == ROWS


@pytest.mark.parametrize("command", [["inspect"], ["verify"], ["stats", "--out", "OUT"]])
def test_commands_that_read_twice_say_what_to_do(tmp_path, capsys, command):
    words = [word.replace("OUT", str(tmp_path / "out")) for word in command]
    with piped(LINES) as pipe:
        for given, name in ((pipe, pipe), ("-", "standard input")):
            assert main(["-q", words[0], given, *words[1:]]) == 2
            assert f"{name}: is a pipe, which can be read once only: save it as a file" in capsys.readouterr().err
