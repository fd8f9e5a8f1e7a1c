"""Ingestion's speed and memory, beside pyarrow's streaming reader and polars on the same file in the same run; results are checked.
FULLPASS_BENCH_ROWS (1,000,000) sets the rows of the CSV file, FULLPASS_BENCH_ROUNDS the pairs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from benchmarks.peers.registry import PEERS
from cluster.benchmarking.pairs import paired
from cluster.benchmarking.results import record_pair
from engine import Dataset, ingest, open_source
from engine.dataset.sharding import write_shards
from engine.formats.parquet.writer import ROW_GROUP_ROWS
from engine.machine.processes import processors

ROWS = int(os.environ.get("FULLPASS_BENCH_ROWS", "1000000"))
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "5"))
SHARDS = 16


@pytest.fixture(scope="module")
def csv_file(tmp_path_factory):
    """40 columns: whole numbers of 1 to 8 digits, decimals, texts of 10 to 10,000 values."""
    rng = np.random.default_rng(0)
    columns = {f"i{i}": rng.integers(0, 10 ** (1 + i % 8), ROWS) for i in range(14)}
    columns |= {f"f{i}": np.round(rng.normal(size=ROWS), 4) for i in range(13)}
    columns |= {f"s{i}": rng.choice([f"v{j:08x}" for j in range(10 ** (1 + i % 4))], ROWS) for i in range(13)}
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    pacsv.write_csv(pa.table(columns), path, pacsv.WriteOptions(quoting_style="needed"))
    return path


def by_pyarrow(path, out):
    """Types from the first block, even shards: what streaming makes of it."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    reader = pacsv.open_csv(path, pacsv.ReadOptions(block_size=4 << 20))
    shard, room, writer = 0, 0, None
    for batch in reader:
        while batch.num_rows:
            if writer is None:
                writer = pq.ParquetWriter(out / f"{shard}.parquet", reader.schema)
                room, shard = ROWS * (shard + 1) // SHARDS - ROWS * shard // SHARDS, shard + 1
            piece = batch.slice(0, room)
            writer.write_batch(piece, row_group_size=ROW_GROUP_ROWS)
            room, batch = room - piece.num_rows, batch.slice(piece.num_rows)
            if not room:
                writer.close()
                writer = None
    if writer is not None:
        writer.close()


def by_polars(path, out):
    """Types from all rows, one file."""
    import polars as pl

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    pl.scan_csv(path, infer_schema_length=None).sink_parquet(out / "all.parquet", compression="snappy")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("peer", [by_pyarrow, by_polars], ids=["pyarrow", "polars"])
def test_csv_to_16_parquet_shards(csv_file, tmp_path, benchmark, peer):
    def ours():
        assert ingest(csv_file, tmp_path / "ours", num_shards=SHARDS, compression="snappy").num_records == ROWS

    result = paired(ours, lambda: peer(csv_file, tmp_path / "peer"), ROUNDS)
    mine = pa.Table.from_batches(Dataset.open(tmp_path / "ours").read_batches())
    paths = sorted((tmp_path / "peer").iterdir(), key=lambda path: int(path.stem) if path.stem.isdigit() else 0)
    theirs = pa.concat_tables([pq.read_table(path) for path in paths])
    for name in mine.column_names:
        assert mine[name].combine_chunks().equals(theirs[name].cast(mine[name].type).combine_chunks())
    name = peer.__name__.removeprefix("by_")
    record_pair(
        benchmark,
        result,
        PEERS[name].title,
        ROWS,
        what="CSV to 16 Parquet shards",
        package=name,
        paths=csv_file,
        headline=True,
    )
    benchmark.pedantic(ours, rounds=1)


def test_5000_columns(tmp_path, benchmark):
    """Types of all values of 5,000 columns, beside pyarrow's streaming reader, which takes those of the first block."""
    columns, rows = 5000, 400
    header = ",".join(f"c{i}" for i in range(columns))
    path = tmp_path / "wide.csv"
    path.write_text(header + "\n" + (",".join(str(i * 7 % 97) for i in range(columns)) + "\n") * rows)

    def ours():
        assert open_source(path).num_records == rows

    def peer():
        assert sum(batch.num_rows for batch in pacsv.open_csv(path, pacsv.ReadOptions(block_size=4 << 20))) == rows

    record_pair(
        benchmark,
        paired(ours, peer, ROUNDS),
        "pyarrow, types of the first block",
        rows,
        what="types of 5,000 CSV columns",
        package="pyarrow",
        paths=path,
    )
    benchmark.pedantic(ours, rounds=1)


_PEAK = """
import re, sys
from engine import ingest
ingest(sys.argv[1], sys.argv[2], num_shards=8)
# Not ru_maxrss, which a process takes over from the one that started it.
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10)
"""


@pytest.mark.full
def test_memory_of_wide_rows(tmp_path, benchmark):
    """Images of 100 KB: what the process holds is bounded by bytes, not by records."""
    rows = ROWS // 200
    rng = np.random.default_rng(1)
    schema = pa.schema([("image", pa.binary())])
    with pq.ParquetWriter(tmp_path / "a.parquet", schema) as writer:
        for _ in range(rows // 100):
            images = [rng.bytes(100_000) for _ in range(100)]
            writer.write_batch(pa.record_batch([pa.array(images, pa.binary())], schema=schema))

    def peak():
        command = [sys.executable, "-c", _PEAK, str(tmp_path / "a.parquet"), str(tmp_path / "out")]
        return int(subprocess.check_output(command))

    benchmark.extra_info["peak_mib"] = benchmark.pedantic(peak, rounds=1)
    benchmark.extra_info["data_mib"] = rows * 100_000 >> 20
    print(
        f"\n{benchmark.name}: {benchmark.extra_info['data_mib']} MiB of images, {benchmark.extra_info['peak_mib']} MiB at most"
    )


@pytest.mark.full
def test_parquet_to_32_shards_by_all_cores(csv_file, tmp_path, benchmark, monkeypatch):
    """The same work with one thread that writes: what more cores are worth. Row groups are as large as pyarrow's own."""
    ingest(csv_file, tmp_path / "csv", num_shards=1)
    pq.write_table(pq.read_table(tmp_path / "csv"), tmp_path / "in.parquet")
    shutil.rmtree(tmp_path / "csv")
    cores = processors()

    def write(threads):
        monkeypatch.setattr(write_shards, "processors", lambda: threads)
        assert ingest(tmp_path / "in.parquet", tmp_path / "out", num_shards=32).num_records == ROWS

    result = paired(lambda: write(cores), lambda: write(1), ROUNDS)
    record_pair(benchmark, result, f"one thread, of {cores} cores", ROWS, what="Parquet to 32 shards by all cores")
    benchmark.pedantic(lambda: write(cores), rounds=1)
