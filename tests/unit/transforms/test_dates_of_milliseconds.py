"""Arrow's date64 holds milliseconds: as a feature and in statistics it counts days, as the same dates in Parquet do."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from engine import Dataset, ingest
from transforms import statistics
from transforms.runners import FeatureReader

DAYS = [0, 1, -1, 20000, 20000]


@pytest.fixture(params=["date", "list", "dictionary"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """The same dates as Arrow and as Parquet."""
    dates = pa.array([day * 86_400_000 for day in DAYS], pa.int64()).cast(pa.date64())
    if request.param == "list":
        dates = pa.ListArray.from_arrays(pa.array([0, 1, 1, 2, 5], pa.int32()), dates)
    if request.param == "dictionary":
        dates = dates.dictionary_encode()
    table = pa.table({"day": dates})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    pq.write_table(table, tmp_path / "a.parquet")
    assert "date64" in str(Dataset.open(tmp_path / "a.arrow").schema.field("day").type)
    return str(tmp_path / "a.arrow"), str(tmp_path / "a.parquet")


def _features(path: str, tmp_path: Path) -> list[object]:
    ds = Dataset.open(path)
    seen = [b.column(0) for s in ds.splits() for b in FeatureReader.of(ds.schema, ("day",)).read(s)]
    feed = ds.feed(global_batch_size=ds.num_records, shuffle=False, num_epochs=1)
    fed = [feed.unpack_numpy(packed)["day"] for packed in feed.batches()]
    ingest(path, tmp_path / "out", format="tfrecord", num_shards=1)
    written = [batch.column(0).to_pylist() for batch in Dataset.open(tmp_path / "out").read_batches()]
    found = statistics(ds).statistics.datasets[0].features[0].num_stats
    flat = [tuple(part.tolist() for part in each) if isinstance(each, tuple) else each.tolist() for each in fed]
    return [[each.to_pylist() for each in seen], flat, written, found.min, found.max, found.mean]


def test_dates_count_days_in_every_file(files: tuple[str, str], tmp_path: Path) -> None:
    arrow, parquet = (_features(path, tmp_path) for path in files)
    assert arrow == parquet
    assert parquet[-3:-1] == [min(DAYS), max(DAYS)]
