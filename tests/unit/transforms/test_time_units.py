"""Files of one data set whose times have different units: every pass counts them all in the unit of the data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.experimental import ptransform_analyzer

from engine import Dataset
from transforms import analyze, transform
from transforms.runners import FeatureReader

MIXES = {
    "timestamps": (pa.timestamp("us"), pa.timestamp("ns")),
    "timestamps_backwards": (pa.timestamp("ns"), pa.timestamp("ms")),
    "zones": (pa.timestamp("ms", "UTC"), pa.timestamp("ns", "UTC")),
    "times": (pa.time32("ms"), pa.time64("us")),
    "short_times": (pa.time32("s"), pa.time32("ms")),
    "long_times": (pa.time64("us"), pa.time64("ns")),
    "durations": (pa.duration("ms"), pa.duration("ns")),
    "dates": (pa.date32(), pa.date64()),
    "lists": (pa.list_(pa.timestamp("us")), pa.list_(pa.timestamp("ns"))),
}


def _column(kind: pa.DataType, rows: int) -> pa.Array:
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(pa.array(range(rows + 1), pa.int32()), _column(kind.value_type, rows))
    day = 86_400_000 if pa.types.is_date64(kind) else 1
    return pa.array([1000 * day * (each + 1) for each in range(rows)], pa.int64()).cast(_counted(kind)).cast(kind)


def _counted(kind: pa.DataType) -> pa.DataType:
    return pa.int32() if pa.types.is_date32(kind) or pa.types.is_time32(kind) else pa.int64()


def _write(root: Path, kinds: tuple[pa.DataType, ...], rows: tuple[int, ...] = (3, 2)) -> list[int]:
    """Writes a file of each kind and returns all values as numbers of the type in which Arrow joins the files."""
    root.mkdir(exist_ok=True)
    for number, (kind, size) in enumerate(zip(kinds, rows)):
        schema = pa.schema([pa.field("t", kind, nullable=False)])
        pq.write_table(pa.table([_column(kind, size)], schema=schema), root / f"{number}.parquet")
    stored = [pq.read_table(root / f"{number}.parquet") for number in range(len(kinds))]
    whole = pa.concat_tables(stored, promote_options="permissive")["t"].combine_chunks()
    if pa.types.is_list(whole.type):
        whole = whole.flatten()
    return [int(each) for each in whole.cast(_counted(whole.type)).to_pylist()]


def _flat(column: pa.Array) -> list[int]:
    return (column.flatten() if pa.types.is_list(column.type) else column).to_pylist()


@pytest.mark.parametrize("mix", MIXES)
def test_a_pass_and_the_feed_read_one_unit(mix: str, tmp_path: Path) -> None:
    expected = _write(tmp_path / "data", MIXES[mix])
    ds = Dataset.open(str(tmp_path / "data"))
    batches = [batch for split in ds.splits() for batch in FeatureReader.of(ds.schema, ("t",)).read(split)]
    assert [value for batch in batches for value in _flat(batch.column(0))] == expected
    feed = ds.feed(global_batch_size=5, shuffle=False, num_epochs=1)
    (packed,) = feed.batches()
    fed = feed.unpack_numpy(packed)["t"]
    np.testing.assert_array_equal((fed[0] if isinstance(fed, tuple) else fed).reshape(-1), expected)


def _scaled(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"largest": inputs["t"] - tft.max(inputs["t"]), "raw": tf.identity(inputs["t"])}


class _Largest(beam.PTransform):
    def expand(self, batches: Any) -> Any:
        return batches | beam.Map(lambda batch: int(batch[0].max())) | beam.CombineGlobally(max)


def _scaled_by_tft(inputs: dict[str, Any]) -> dict[str, Any]:
    (largest,) = ptransform_analyzer([inputs["t"]], _Largest(), [tf.int64], [[]])
    return {"largest": inputs["t"] - largest, "raw": tf.identity(inputs["t"])}


_WAYS: list[tuple[Any, dict[str, Any]]] = [
    (_scaled, {}),
    (_scaled, {"labels": ["t"]}),
    (_scaled, {"spans": "spans"}),
    (_scaled, {"runner": "DirectRunner"}),
    (_scaled_by_tft, {}),
]


@pytest.mark.parametrize(("function", "options"), _WAYS, ids=lambda each: getattr(each, "__name__", str(each)))
def test_a_graph_and_its_records_are_of_one_unit(
    function: Any, options: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    kinds = MIXES["timestamps"]
    root = tmp_path / "data"
    _write(root, kinds[:1])
    if "spans" in options:  # what is known of the first file is of its unit
        analyze(Dataset.open(str(root)), function, "first", **options)
    expected = np.array(_write(root, kinds))
    ds = Dataset.open(str(root))
    report = analyze(ds, function, "graph", **options)
    assert (report.fallback is not None) == (function is _scaled_by_tft)
    transform(ds, "graph", "out")
    found = pq.read_table("out", partitioning=None)
    assert found["raw"].to_pylist() == expected.tolist()
    assert found["largest"].to_pylist() == (expected - expected.max()).tolist()
