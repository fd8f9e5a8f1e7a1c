"""The protocols of data and feeds: who claims to be one has all of it."""

import inspect

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import ConfigError, Dataset, Remainder
from engine.dataset.arrays import ArrayDataset
from engine.feed import BlockData, TrainingData, TrainingFeed, mix


def _members(protocol):
    return [name for name in vars(protocol) if not name.startswith("_")]


@pytest.fixture
def stored(tmp_path):
    pq.write_table(pa.table({"x": pa.array(np.arange(12.0, dtype=np.float32))}), tmp_path / "data-0.parquet")
    return Dataset.open(str(tmp_path))


@pytest.mark.parametrize("kind", ["stored", "arrays", "mixture"])
def test_data_and_their_feeds_have_what_training_asks_of_them(kind, stored):
    data = ArrayDataset({"x": np.arange(12.0)}) if kind == "arrays" else stored
    assert not [name for name in _members(TrainingData) if not hasattr(data, name)]
    asked = {n: p for n, p in inspect.signature(TrainingData.feed).parameters.items() if n != "self"}
    values = {
        "global_batch_size": 4, "seed": 1, "host": 0, "num_hosts": 1, "columns": ["x"], "shuffle": True, "num_epochs": 1,
        "remainder": Remainder.DROP, "with_record_ids": False, "window_records": 12,
    }  # fmt: skip
    assert values.keys() == asked.keys()
    feed = mix([stored, stored], [1, 1], global_batch_size=4) if kind == "mixture" else data.feed(**values)
    assert not [name for name in _members(TrainingFeed) if not hasattr(feed, name)]
    feed.set_state(feed.get_state(1))
    assert feed.steps_per_epoch in (3, 6)


def test_columns_that_a_feed_would_take_for_its_own_are_refused():
    with pytest.raises(ConfigError, match="column 'mask' has a name that the feed uses itself"):
        ArrayDataset({"x": np.arange(3), "mask": np.ones((3, 2))})
    with pytest.raises(ConfigError, match="18446744073709551615, which is more than int64 holds"):
        ArrayDataset({"x": np.array([1, 2**64 - 1], np.uint64)})


def test_a_data_set_has_what_a_feed_asks_of_it(stored):
    assert not [name for name in _members(BlockData) if not hasattr(stored, name)]
    manifest = stored.manifest
    assert manifest.block_records().sum() == stored.num_records == sum(file.records for file in manifest.files)
    assert manifest.block_split(0).path == stored.paths[0] and manifest.hash
