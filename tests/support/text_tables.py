"""A CSV file or JSON lines as a table: by the library, and by the command that ingests it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from cluster.cli.main import main
from engine import Dataset, open_source
from engine.formats.csv.options import CsvOptions

__all__ = ["read", "through_the_command"]


def read(path: str | Path | list[str], **options) -> pa.Table:
    """Returns what the library reads, by the options of CSV."""
    found = open_source(path, csv_options=CsvOptions(**options))
    return pa.Table.from_batches(found.batches(), found.schema)


def through_the_command(path: str | Path, out: Path, *words: str) -> pa.Table:
    """Returns what `fullpass ingest` wrote into one shard in `out`."""
    assert main(["-q", "ingest", str(path), "--out", str(out), "--num-shards", "1", *words]) == 0
    dataset = Dataset.open(out)
    return pa.Table.from_batches(dataset.read_batches(), dataset.schema)
