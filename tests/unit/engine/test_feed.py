"""The feed in plain Python: the right values in the right slots, exact over restarts, resizes and damage."""

import itertools
import json
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import ConfigError, DataError, Dataset, Remainder
from engine.feed import Feed, FeedConfig, OnDamage
from engine.feed.buffers import BufferPool
from engine.schema.conform import cast_array

ROWS = 1000
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), False),
        pa.field("score", pa.float32(), False),
        pa.field("wide", pa.float64(), False),
        pa.field("small", pa.int16(), False),
        pa.field("flag", pa.bool_(), False),
        pa.field("word", pa.string(), False),
        pa.field("code", pa.binary(), False),
        pa.field("pair", pa.list_(pa.float32(), 2), False),
        pa.field("items", pa.list_(pa.int64())),
        pa.field("maybe", pa.float32()),
        pa.field("tags", pa.list_(pa.string())),
    ]
)


def row(i):
    return {
        "id": i,
        "score": i / 2,
        "wide": i / 4,
        "small": i % 100,
        "flag": i % 2 == 1,
        "word": f"w{i}",
        "code": f"c{i}".encode(),
        "pair": [i, -i],
        "items": list(range(i % 4)),
        "maybe": None if i % 3 == 0 else float(i),
        "tags": [f"t{j}" for j in range(i % 3)],
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """1,000 rows in 5 files of unequal size, row groups of 37 rows."""
    folder = tmp_path_factory.mktemp("feed")
    table = pa.Table.from_pylist([row(i) for i in range(ROWS)], SCHEMA)
    starts = [0, 130, 150, 600, 907, ROWS]
    for number, (start, stop) in enumerate(itertools.pairwise(starts)):
        pq.write_table(table.slice(start, stop - start), folder / f"part-{number}.parquet", row_group_size=37)
    return Dataset.open(str(folder / "*.parquet"), feature_spec=SCHEMA)


def ids_of(batch):
    ids = batch["record_ids"]
    return ids[batch["mask"]] if "mask" in batch else ids


def check_values(feed, batch):
    """Every column of every slot holds what its record id says."""
    columns, ids = feed.unpack_numpy(batch), ids_of(batch)
    n = len(ids)
    np.testing.assert_array_equal(columns["id"][:n], ids)
    np.testing.assert_array_equal(columns["score"][:n], (ids / 2).astype(np.float32))
    np.testing.assert_array_equal(columns["wide"][:n], (ids / 4).astype(np.float32))
    np.testing.assert_array_equal(columns["small"][:n], ids % 100)
    np.testing.assert_array_equal(columns["flag"][:n], ids % 2)
    assert columns["word"][:n].tolist() == [f"w{i}".encode() for i in ids]
    assert columns["code"][:n].tolist() == [f"c{i}".encode() for i in ids]
    np.testing.assert_array_equal(columns["pair"][:n], np.stack([ids, -ids], axis=1))
    for name, expected in (
        ("items", [list(range(i % 4)) for i in ids]),
        ("maybe", [[] if i % 3 == 0 else [float(i)] for i in ids]),
        ("tags", [[f"t{j}".encode() for j in range(i % 3)] for i in ids]),
    ):
        values, splits = columns[name]
        assert [values[a:b].tolist() for a, b in itertools.pairwise(splits[: n + 1])] == expected


@pytest.mark.parametrize("remainder", list(Remainder))
@pytest.mark.parametrize("hosts", [1, 2, 3])
def test_feed_every_remainder_and_hosts_gives_the_planned_records(dataset, remainder, hosts):
    options = {"global_batch_size": 48, "seed": 3, "num_epochs": 2, "remainder": remainder, "with_record_ids": True}
    feeds = [dataset.feed(host=h, num_hosts=hosts, **options) for h in range(hosts)]
    count = 0
    for number, parts in enumerate(zip(*feeds, strict=True)):
        for host, (feed, batch) in enumerate(zip(feeds, parts)):
            check_values(feed, batch)
            np.testing.assert_array_equal(ids_of(batch), feed.plan.record_ids(feed.plan.cursor(number), host))
            if remainder is not Remainder.PARTIAL:
                assert batch["float32"].shape == (48 // hosts, 4)
        count += 1
    assert count == feeds[0].plan.total_batches(2)


def test_feed_snapshot_before_every_batch_whole_tail_equal(dataset):
    options = {"global_batch_size": 60, "seed": 1, "num_epochs": 1, "with_record_ids": True, "columns": ["id", "word"]}
    feed = dataset.feed(**options)
    states, whole = [], []
    for batch in feed:
        whole.append(batch)
        states.append(json.dumps(feed.get_state()))
    assert len(whole) == 16
    for done, state in enumerate([json.dumps(dataset.feed(**options).get_state()), *states]):
        resumed = dataset.feed(**options)
        resumed.set_state(json.loads(state))
        tail = list(resumed)
        assert len(tail) == len(whole) - done
        for got, expected in zip(tail, whole[done:]):
            for key in expected:
                np.testing.assert_array_equal(got[key], expected[key])


def test_feed_resized_8_6_1_hosts_equals_uninterrupted(dataset):
    options = {"global_batch_size": 48, "seed": 9, "with_record_ids": True, "columns": ["id"]}
    expected = [b["record_ids"] for b, _ in zip(dataset.feed(**options), range(60))]
    got, state = [], dataset.feed(**options).get_state()
    for hosts, batches in ((8, 25), (6, 20), (1, 15)):
        feeds = [dataset.feed(host=h, num_hosts=hosts, **options) for h in range(hosts)]
        for feed in feeds:
            feed.set_state(state)
        for parts, _ in zip(zip(*feeds), range(batches)):
            got.append(np.concatenate([p["record_ids"] for p in parts]))
        states = [feed.get_state(num_batches=batches) for feed in feeds]
        assert all(s == states[0] for s in states)
        state = json.loads(json.dumps(states[0]))
    assert [g.tolist() for g in got] == [e.tolist() for e in expected]


def test_feed_evaluation_in_file_order_with_everything(dataset):
    feed = dataset.feed(
        global_batch_size=64, shuffle=False, num_epochs=1, remainder=Remainder.PARTIAL, with_record_ids=True
    )
    batches = list(feed)
    for batch in batches:
        check_values(feed, batch)
    assert np.concatenate([b["record_ids"] for b in batches]).tolist() == list(range(ROWS))
    assert len(batches[-1]["record_ids"]) == ROWS % 64


def test_feed_padding_is_masked_and_zero(dataset):
    feed = dataset.feed(global_batch_size=999, num_epochs=1, remainder=Remainder.PAD)
    _, last = list(feed)
    assert last["mask"].sum() == 1
    assert not last["float32"][1:].any() and not last["int64"][1:].any() and set(last["bytes"][1:].ravel()) == {b""}
    values, splits = last["items"]
    assert len(splits) == 1000 and splits[-1] == len(values) == splits[1]


def test_fill_makes_missing_values_dense(dataset):
    feed = dataset.feed(
        global_batch_size=100, num_epochs=1, columns=["maybe"], fill={"maybe": -1.0}, with_record_ids=True
    )
    for batch in feed:
        expected = np.where(batch["record_ids"] % 3 == 0, -1.0, batch["record_ids"]).astype(np.float32)
        np.testing.assert_array_equal(batch["float32"][:, 0], expected)


def test_feed_left_in_the_middle_stops_its_threads(dataset):
    before = threading.active_count()
    for _ in range(3):
        for _ in dataset.feed(global_batch_size=10):
            break
    for thread in threading.enumerate():
        if thread.name.startswith("fullpass-feed"):
            thread.join(5)
    assert threading.active_count() <= before


def test_feed_never_imports_tensorflow(dataset):
    code = (
        "import sys, engine\n"
        f"feed = engine.Dataset.open({dataset.paths!r}).feed(global_batch_size=100, num_epochs=1)\n"
        "print(sum(1 for _ in feed), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["10", "False"]


class Damaged:
    """Rows 0..99 in blocks of 10; chosen blocks cannot be read, some of them in part."""

    schema = pa.schema([pa.field("id", pa.int64(), False), pa.field("word", pa.string(), False)])

    def __init__(self, kept):
        self.kept = kept

    def read_block(self, block, columns):
        if block in self.kept:
            raise DataError("checksum does not match", path=f"block-{block}", record=3, offset_bytes=77)
        ids = range(block * 10, block * 10 + 10)
        return self._batch(ids, columns)

    def read_block_skipping(self, block, columns):
        kept = np.array(self.kept[block], np.int64)
        return self._batch([block * 10 + int(k) for k in kept], columns), kept

    def _batch(self, ids, columns):
        return pa.RecordBatch.from_pylist([{"id": i, "word": f"w{i}"} for i in ids], self.schema).select(columns)


def damaged_feed(kept, **fields):
    config = FeedConfig(global_batch_size=10, seed=4, num_epochs=1, with_record_ids=True, **fields)
    return Feed(Damaged(kept), np.full(10, 10), "f", config)


def test_damage_by_default_raises_with_its_place():
    with pytest.raises(DataError, match=r"block-3, record 3, byte 77: checksum does not match"):
        list(damaged_feed({3: []}))


def test_damage_skipped_keeps_every_other_record_in_place_and_names_the_ids():
    kept = {3: [0, 1, 2, 4, 5, 6, 7, 8, 9], 7: []}
    whole = list(damaged_feed({}))
    feed = damaged_feed(kept, on_damage=OnDamage.SKIP, skip_budget=11)
    batches = list(feed)
    lost = [33, *range(70, 80)]
    for got, expected in zip(batches, whole, strict=True):
        np.testing.assert_array_equal(got["record_ids"], expected["record_ids"])
        np.testing.assert_array_equal(got["mask"], ~np.isin(expected["record_ids"], lost))
        np.testing.assert_array_equal(got["int64"], np.where(got["mask"][:, None], expected["int64"], 0))
        assert (got["bytes"] == np.where(got["mask"][:, None], expected["bytes"], b"")).all()
    assert feed.skipped == lost == feed.get_state()["skipped"]
    resumed = damaged_feed({}, on_damage=OnDamage.SKIP, skip_budget=11)
    resumed.set_state(feed.get_state())
    assert resumed.skipped == lost


def test_damage_beyond_the_budget_raises():
    with pytest.raises(DataError, match="11 damaged records are more than skip_budget 10") as caught:
        list(damaged_feed({3: [0], 7: list(range(8))}, on_damage="skip", skip_budget=10))
    assert caught.value.offset_bytes == 77


def test_block_with_other_count_than_planned_refused():
    with pytest.raises(DataError, match=r"block .* holds 10 records where the manifest counts 9"):
        list(Feed(Damaged({}), np.full(10, 9), "f", FeedConfig(global_batch_size=10)))


def test_parquet_row_group_damaged_is_skipped_whole(tmp_path):
    path = tmp_path / "part.parquet"
    table = pa.table({"id": pa.array(range(300))}, schema=pa.schema([pa.field("id", pa.int64(), False)]))
    pq.write_table(table, path, row_group_size=100, compression="none", use_dictionary=False, write_page_checksum=True)
    chunk = pq.read_metadata(path).row_group(1).column(0)
    dataset = Dataset.open(str(path))
    assert dataset.num_records == 300
    with open(path, "r+b") as file:
        file.seek(chunk.data_page_offset + chunk.total_compressed_size - 8)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    feed = dataset.feed(
        global_batch_size=50, num_epochs=1, on_damage="skip", with_record_ids=True, remainder=Remainder.PAD
    )
    ids = np.concatenate([b["record_ids"][b["mask"]] for b in feed])
    assert sorted(ids.tolist()) == [*range(100), *range(200, 300)]
    assert feed.skipped == list(range(100, 200))
    with pytest.raises(DataError):
        list(dataset.feed(global_batch_size=50, num_epochs=1))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"host": 2, "num_hosts": 2}, "host is 2"),
        ({"num_epochs": 0}, "num_epochs is 0"),
        ({"columns": "id"}, "columns is 'id'"),
        ({"columns": ["nope"]}, "column 'nope' not found; available columns: "),
        ({"on_damage": "ignore"}, "on_damage is 'ignore'"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_feed_bad_option_refused_naming_it(dataset, fields, message):
    with pytest.raises(ConfigError, match=message):
        dataset.feed(global_batch_size=10, **fields)


def test_state_of_other_data_refused(dataset):
    state = dataset.feed(global_batch_size=10).get_state(num_batches=3)
    other = Feed(Damaged({}), np.full(10, 10), "f", FeedConfig(global_batch_size=10))
    with pytest.raises(ConfigError, match="manifest"):
        other.set_state(state)


def test_buffers_come_back_only_when_nobody_looks_at_them():
    pool = BufferPool()
    first = pool.empty((10, 3), np.dtype(np.float32))
    assert first.ctypes.data % 64 == 0
    address, view = first.ctypes.data, first[2:].T
    del first
    assert pool.empty((10, 3), np.dtype(np.float32)).ctypes.data != address
    del view
    assert address in {pool.empty((10, 3), np.dtype(np.float32)).ctypes.data for _ in range(3)}


def test_batches_kept_by_the_consumer_are_never_written_again(dataset):
    feed = dataset.feed(global_batch_size=50, num_epochs=3, columns=["id"], with_record_ids=True)
    kept = list(feed)
    for batch in kept:
        np.testing.assert_array_equal(batch["int64"][:, 0], batch["record_ids"])


def test_tfrecord_one_damaged_record_is_skipped_alone(tmp_path):
    schema = pa.schema([pa.field("id", pa.int64(), False), pa.field("word", pa.binary(), False)])
    rows = pa.table({"id": range(300), "word": [f"word-{i:04d}".encode() for i in range(300)]}, schema=schema)
    folder = tmp_path / "records"
    pq.write_table(rows, tmp_path / "rows.parquet")
    Dataset.open(str(tmp_path / "rows.parquet"), feature_spec=schema).write(folder, "tfrecord", num_shards=3)
    options = {"global_batch_size": 25, "seed": 2, "num_epochs": 1, "with_record_ids": True}
    expected = list(Dataset.open(str(folder), feature_spec=schema).feed(**options))
    dataset = Dataset.open(str(folder), feature_spec=schema)
    path = dataset.paths[1]
    with open(path, "r+b") as file:
        at = file.read().index(b"word-0137")
        file.seek(at + 6)
        file.write(b"9")
    with pytest.raises(DataError) as caught:
        list(dataset.feed(**options))
    assert caught.value.path == path and caught.value.record == 37
    feed = dataset.feed(on_damage="skip", **options)
    for got, whole in zip(feed, expected, strict=True):
        np.testing.assert_array_equal(got["record_ids"], whole["record_ids"])
        np.testing.assert_array_equal(got["mask"], whole["record_ids"] != 137)
        assert (got["bytes"] == np.where(got["mask"][:, None], whole["bytes"], b"")).all()
    assert feed.skipped == [137]


@pytest.mark.parametrize(
    ("kind", "rows", "record", "message"),
    [
        (pa.list_(pa.int64()), [[1, 2], None, [], [3, None]], 3, "holds a null inside a list"),
        (pa.list_(pa.string()), [["x"], ["y"], ["z"], [None]], 3, "holds a null inside a list"),
        (pa.list_(pa.float32(), 2), [[1.0, 2.0], [2.0, 2.0], [3.0, None]], 2, "holds a null inside a list"),
        (pa.float64(), [1.0, float("inf"), 1e300, 2.0], 2, r"of type double does not fit float: 1e\+300 is beyond"),
        (pa.list_(pa.float64(), 2), [[1.0, 2.0], [2.0, 2.0], [2.0, -1e39]], 2, r"of type double .* -1e\+39 is beyond"),
        (pa.list_(pa.float64()), [[1.0], [], [], [2.0, -1e39]], 3, r"of type list.* does not fit .* -1e\+39 is beyond"),
        (pa.uint64(), [1, 2, 3, 1 << 63], 3, "of type uint64 does not fit int64"),
    ],
)
def test_a_value_that_no_tensor_holds_is_refused_with_its_record(kind, rows, record, message, tmp_path):
    path = str(tmp_path / "x.parquet")
    table = pa.table({"a": pa.array(rows, kind)})
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table, row_group_size=2)
    with pytest.raises(DataError, match=f"column 'a' {message}") as caught:
        list(Dataset.open(path).feed(global_batch_size=2, num_epochs=1))
    assert (caught.value.path, caught.value.record) == (path, record)


@pytest.mark.parametrize("array", [pa.array([1.5, float("inf")]).dictionary_encode(), pa.array(["1.5", "inf"])])
def test_what_was_infinite_before_may_be_so_as_float32(array):
    assert cast_array(array, pa.float32()).to_pylist() == [1.5, float("inf")]
