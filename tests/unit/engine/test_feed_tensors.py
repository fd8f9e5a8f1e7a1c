"""The feed as a tf.data.Dataset: the same batches as in plain Python, static shapes, every strategy's way of reading."""

import contextlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from engine import ConfigError, Dataset, Remainder
from engine.feed.tensorflow.composite import assemble

ROWS = 500
DENSE = ["id", "score", "pair", "word"]


@pytest.fixture(scope="module", autouse=True)
def two_devices():
    """Two logical CPUs: replicas of a MirroredStrategy."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    # Too late where another module of this process has used TensorFlow: then only the test of the strategy is skipped.
    with contextlib.suppress(RuntimeError):
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("tensors") / "part.parquet"
    ids = np.arange(ROWS)
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), False),
            pa.field("score", pa.float32(), False),
            pa.field("pair", pa.list_(pa.float32(), 2), False),
            pa.field("word", pa.binary(), False),
            pa.field("items", pa.list_(pa.int64())),
            pa.field("maybe", pa.float32()),
            pa.field(
                "bag",
                pa.list_(pa.int64()),
                metadata={"fullpass.feature": '[{"kind": "ragged", "name": "bag", "value_key": "bag"}]'},
            ),
        ]
    )
    rows = {
        "id": ids,
        "score": (ids / 2).astype(np.float32),
        "pair": [[i, -i] for i in ids.tolist()],
        "word": [f"w{i}".encode() for i in ids],
        "items": [list(range(i % 4)) for i in ids],
        "maybe": [None if i % 3 == 0 else float(i) for i in ids],
        "bag": [[i] * (i % 3) for i in ids],
    }
    pq.write_table(pa.table(rows, schema=schema), path, row_group_size=41)
    return Dataset.open(str(path), feature_spec=schema)


def collected(dataset):
    """The same records through TensorFlow's own eyes, as numpy by key."""
    return [{key: value.numpy() for key, value in element.items()} for element in dataset]


@pytest.mark.parametrize("size", [20, 500])
@pytest.mark.parametrize("remainder", list(Remainder))
def test_dataset_equals_plain_iteration(dataset, size, remainder):
    feed = dataset.feed(
        global_batch_size=size, seed=1, num_epochs=2, remainder=remainder, columns=DENSE, with_record_ids=True
    )
    expected = list(feed)
    got = collected(feed.dataset())
    assert len(got) == len(expected) == feed.dataset().cardinality().numpy()
    for left, right in zip(got, expected):
        assert left.keys() == right.keys()
        for key in left:
            np.testing.assert_array_equal(left[key], right[key])


def test_dataset_shapes_are_static_and_endless_is_known(dataset):
    spec = dataset.feed(global_batch_size=20, num_hosts=2, columns=DENSE).dataset().element_spec
    assert spec["float32"].shape == (10, 3) and spec["int64"].shape == (10, 1) and spec["bytes"].shape == (10, 1)
    assert dataset.feed(global_batch_size=20).dataset().cardinality() == tf.data.INFINITE_CARDINALITY


def test_unpack_in_graph_gives_what_parse_example_would(dataset):
    feed = dataset.feed(global_batch_size=50, num_epochs=1, remainder=Remainder.PAD, with_record_ids=True)
    unpack = tf.function(feed.unpack)
    for packed in feed.dataset():
        columns = unpack(packed)
        ids = columns["record_ids"].numpy()
        assert columns["mask"].numpy().all()
        np.testing.assert_array_equal(columns["id"], ids)
        np.testing.assert_array_equal(columns["score"], (ids / 2).astype(np.float32))
        np.testing.assert_array_equal(columns["pair"], np.stack([ids, -ids], axis=1))
        assert columns["word"].numpy().tolist() == [f"w{i}".encode() for i in ids]
        assert isinstance(columns["items"], tf.SparseTensor) and isinstance(columns["maybe"], tf.SparseTensor)
        assert tf.RaggedTensor.from_sparse(columns["items"]).to_list() == [list(range(i % 4)) for i in ids]
        np.testing.assert_array_equal(columns["maybe"].values, [i for i in ids if i % 3])
        assert columns["bag"].to_list() == [[i] * (i % 3) for i in ids]


@pytest.mark.parametrize("columns", [DENSE, [*DENSE, "bag"]])
def test_replica_parts_are_consecutive_rows_of_the_host_batch(dataset, columns):
    feed = dataset.feed(global_batch_size=40, seed=2, num_epochs=1, columns=columns, with_record_ids=True)
    parts = [element["record_ids"].numpy() for element in feed.dataset(num_replicas=4)]
    whole = [batch["record_ids"] for batch in feed]
    assert [len(p) for p in parts] == [10] * 4 * len(whole)
    np.testing.assert_array_equal(np.concatenate(parts), np.concatenate(whole))


def test_mirrored_strategy_sees_each_global_batch_once(dataset):
    if len(tf.config.list_logical_devices("CPU")) < 2:
        pytest.skip("TensorFlow was set up with one logical CPU before this module ran")
    feed = dataset.feed(global_batch_size=40, seed=2, num_epochs=1, columns=DENSE, with_record_ids=True)
    expected = [batch["record_ids"] for batch in feed]
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    from_function = strategy.distribute_datasets_from_function(
        lambda context: feed.dataset(context.num_replicas_in_sync // context.num_input_pipelines)
    )
    rebatched = strategy.experimental_distribute_dataset(feed.dataset())
    for distributed in (from_function, rebatched):
        got = []
        for batch in distributed:
            ids = strategy.run(lambda packed: feed.unpack(packed)["record_ids"], args=(batch,))
            got.append(np.concatenate([part.numpy() for part in strategy.experimental_local_results(ids)]))
        assert [g.tolist() for g in got] == [e.tolist() for e in expected]


def test_state_after_any_number_of_batches_ignores_what_ran_ahead(dataset):
    options = {"global_batch_size": 20, "seed": 5, "columns": DENSE, "with_record_ids": True}
    feed = dataset.feed(**options)
    whole = [e["record_ids"].numpy() for e in feed.dataset().take(30)]
    for done in (0, 1, 7, 29):
        resumed = dataset.feed(**options)
        resumed.set_state(feed.get_state(num_batches=done))
        tail = [e["record_ids"].numpy() for e in resumed.dataset().take(30 - done)]
        np.testing.assert_array_equal(np.concatenate(tail), np.concatenate(whole[done:]))
    with pytest.raises(ConfigError, match="num_batches"):
        feed.get_state()


def test_replicas_not_dividing_the_host_batch_refused(dataset):
    with pytest.raises(ConfigError, match="num_replicas is 3"):
        dataset.feed(global_batch_size=40).dataset(num_replicas=3)
    with pytest.raises(ConfigError, match="PAD"):
        dataset.feed(global_batch_size=40, remainder=Remainder.PARTIAL).dataset(num_replicas=2)


def test_an_epoch_does_not_end_with_the_sleep_of_the_autotuner(dataset):
    built_on = (
        dataset.feed(global_batch_size=20).dataset().map(lambda packed: packed, num_parallel_calls=tf.data.AUTOTUNE)
    )
    assert built_on.options().autotune.enabled is False
    on = tf.data.Options()
    on.autotune.enabled = True
    assert built_on.with_options(on).options().autotune.enabled is True


def test_a_sparse_feature_is_none_the_less_for_a_name_with_ragged_in_it(tmp_path):
    """Its kind was found by looking for the word in all that is noted of it: names, too."""
    at, values = [[1], [], [2, 3], [4]], [[10], [], [20, 30], [40]]
    pq.write_table(pa.table({"ragged_at": at, "value": values}), tmp_path / "a.parquet")
    spec = {"ragged": tf.io.SparseFeature("ragged_at", "value", tf.int64, 10)}
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    "ragged_at": tf.train.Feature(int64_list=tf.train.Int64List(value=a)),
                    "value": tf.train.Feature(int64_list=tf.train.Int64List(value=v)),
                }
            )
        ).SerializeToString()
        for a, v in zip(at, values)
    ]
    dataset = Dataset.open(str(tmp_path / "a.parquet"), feature_spec=spec)
    feed = dataset.feed(global_batch_size=4, seed=0)
    packed = next(iter(feed.dataset()))
    expected = tf.sparse.to_dense(tf.io.parse_example(examples, spec)["ragged"]).numpy()
    found = tf.sparse.to_dense(assemble(dataset.schema, feed.unpack(packed))["ragged"]).numpy()
    assert sorted(found.tolist()) == sorted(expected.tolist())
