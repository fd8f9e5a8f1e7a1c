"""Sharded tables on one worker: equal to Keras's own update of a dense table, rows apart from the batch untouched, saved and exported."""

from __future__ import annotations

import numpy as np
import pytest

from engine import ConfigError
from trainers import ArrayDataset, CheckpointConfig, Trainer, TrainerConfig
from trainers.checkpoints.checkpoint import CheckpointError, load_checkpoint

ROWS, WIDTH = 50, 4


def columns(records=256):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, ROWS - 10, (records, 3))
    return {"ids": ids, "y": (ids.sum(1) % 2).astype(np.float32)}


def sharded(optimizer="adagrad", rate=0.5, rows=ROWS, model_optimizer=None):
    def build_model(context):
        import keras

        from trainers import ShardedEmbedding

        inputs = {"ids": keras.Input((3,), dtype="int64", name="ids")}
        rowset = ShardedEmbedding(rows, WIDTH, name="items", optimizer=optimizer)(inputs["ids"])
        output = keras.layers.Dense(1, kernel_initializer="ones")(keras.layers.Flatten()(rowset))
        model = keras.Model(inputs, output)
        model.compile(model_optimizer(keras) if model_optimizer else keras.optimizers.SGD(rate), "mse")
        return model

    return build_model


def fit(directory, build_model, **changes):
    settings = {"label": "y", "global_batch_size": 32, "steps": 8, "steps_per_call": 2, "tensorboard": False, **changes}
    return Trainer(TrainerConfig(directory=str(directory), **settings), build_model, ArrayDataset(columns())).fit()


def table(directory, slot="rows"):
    saved = load_checkpoint(str(directory)).tensors("table")
    return {key.partition(":")[2]: value.numpy() for key, value in saved.items()}[f"items/{slot}"]


def keras_build(start, optimizer):
    """Returns the same model with a dense table, whose gradient has what belongs to one row added up."""

    def build_model(context):
        import keras

        inputs = {"ids": keras.Input((3,), dtype="int64", name="ids")}
        chosen = keras.layers.Lambda(lambda ids: keras.ops.one_hot(ids, ROWS))(inputs["ids"])
        kernel = keras.initializers.Constant(start)
        embedded = keras.layers.Dense(WIDTH, use_bias=False, kernel_initializer=kernel, name="items")(chosen)
        model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="ones")(keras.layers.Flatten()(embedded)))
        model.compile(optimizer(keras), "mse")
        return model

    return build_model


@pytest.mark.parametrize(
    ("optimizer", "changes"),
    [("sgd", {}), ("adagrad", {}), ("sgd", {"clip_norm": 0.05}), ("adagrad", {"accumulate_steps": 2})],
)
def test_table_learns_as_a_dense_one_of_keras_does(tmp_path, optimizer, changes):
    optimizers = {"sgd": lambda k: k.optimizers.SGD(0.5), "adagrad": lambda k: k.optimizers.Adagrad(0.5)}
    fit(tmp_path / "start", sharded(), steps=1, learning_rate=1e-30)
    result = fit(tmp_path / "ours", sharded(optimizer, model_optimizer=optimizers[optimizer]), **changes)
    start = table(tmp_path / "start")
    reference = fit(tmp_path / "keras", keras_build(start, optimizers[optimizer]), **changes)
    expected = reference.model.get_layer("items").kernel.numpy()
    np.testing.assert_allclose(table(tmp_path / "ours"), expected, rtol=2e-5, atol=1e-6)
    assert result.metrics["loss"] == pytest.approx(reference.metrics["loss"], rel=1e-5)
    assert not np.allclose(expected[:40], start[:40])
    np.testing.assert_array_equal(table(tmp_path / "ours")[40:], start[40:])  # no batch has these rows


def test_adam_of_a_table_is_keras_adam_where_every_batch_has_every_row(tmp_path):
    import keras
    import tensorflow as tf

    from trainers import ShardedTable

    ours = ShardedTable(3, 2, name="t", optimizer="adam")
    ours.prepare_training()
    theirs, adam = keras.Variable(ours.values.numpy()), keras.optimizers.Adam(0.1)
    adam.build([theirs])
    for step in range(5):
        gradient = tf.constant(np.random.default_rng(step).normal(size=(3, 2)), tf.float32)
        ours.apply(tf.constant([2, 0, 1], tf.int64), tf.gather(gradient, [2, 0, 1]), 0.1, tf.constant(step))
        adam.apply([gradient], [theirs])
    np.testing.assert_allclose(ours.values.numpy(), theirs.numpy(), rtol=1e-5)


def test_resumed_run_is_the_uninterrupted_one_to_the_bit(tmp_path):
    every = CheckpointConfig(every_steps=4)
    fit(tmp_path / "whole", sharded(), checkpoint=every)
    fit(tmp_path / "twice", sharded(), checkpoint=every, steps=4)
    resumed = fit(tmp_path / "twice", sharded(), checkpoint=every)
    assert resumed.resumed_from == 4
    for slot in ("rows", "accumulator"):
        np.testing.assert_array_equal(table(tmp_path / "twice", slot), table(tmp_path / "whole", slot))


def test_export_has_the_whole_table_and_not_its_optimizer(tmp_path):
    import tensorflow as tf

    from trainers.export.from_checkpoint import export_checkpoint

    data = ArrayDataset(columns())
    result = fit(tmp_path / "run", sharded())
    spec = dict(data.feature_spec())
    version = export_checkpoint(
        tmp_path / "run", sharded(), tmp_path / "models", transform_graph=None, raw_feature_spec=spec
    )
    served = tf.saved_model.load(str(version)).signatures["raw_features"]
    ids = columns()["ids"][:16]
    answers = served(ids=tf.constant(ids))
    expected = result.model({"ids": ids}).numpy()
    np.testing.assert_allclose(next(iter(answers.values())).numpy().reshape(-1), expected.reshape(-1), rtol=1e-6)
    written = [name for name, _ in tf.train.list_variables(str(version / "variables" / "variables"))]
    assert not any("accumulator" in name for name in written)


def test_damage_of_a_table_is_found(tmp_path):
    from trainers import ShardedTable

    fit(tmp_path, sharded())
    path = load_checkpoint(str(tmp_path)).path
    found = sorted((tmp_path / "checkpoints").glob("step-*/tensors.data-*"))
    biggest = max((p for p in found if p.parent.name in path), key=lambda p: p.stat().st_size)
    content = bytearray(biggest.read_bytes())
    content[len(content) // 2] ^= 1
    biggest.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(path).verify()
    rows = ShardedTable(ROWS, WIDTH, name="items")
    rows.prepare_training()
    with pytest.raises(
        CheckpointError, match="the tables cannot be read"
    ):  # where nothing was verified before: an export
        load_checkpoint(path).restore_tables([rows])


def test_table_of_other_shape_or_name_is_refused_on_resume(tmp_path):
    fit(tmp_path, sharded())
    with pytest.raises(CheckpointError, match=r"table 'items/rows' is \[50, 4\], in this model it is \[60, 4\]"):
        fit(tmp_path, sharded(rows=60), steps=10)


def test_what_a_table_does_not_go_with_is_refused_before_the_first_step(tmp_path):
    for changes, reason in (
        ({"xla": True}, "xla=True"),
        ({"ema_decay": 0.9}, "ema_decay=0.9"),
        ({"on_nan": "skip"}, "on_nan='skip'"),
        ({"warm_start": "other.keras"}, "only a training or checkpoint directory has tables"),
    ):
        with pytest.raises(ConfigError, match=f"sharded table 'items' does not go with .*{reason}"):
            fit(tmp_path / "run", sharded(), **changes)
    with pytest.raises(ConfigError, match="optimizer: got 'lion'; expected one of sgd, adagrad, adam"):
        fit(tmp_path / "run", sharded("lion"))


def test_id_beyond_the_table_is_an_error(tmp_path):
    with pytest.raises(Exception, match="an id is not between 0 and 19"):
        fit(tmp_path, sharded(rows=20))


def test_first_values_do_not_depend_on_the_number_of_workers():
    from trainers import ShardedTable
    from trainers.tables.place import TablePlace, table_place

    rows = (1 << 16) + 1001  # more than one block
    whole = ShardedTable(rows, 2, name="t").values.numpy()
    parts = []
    for index in range(3):
        with table_place(TablePlace(index=index, count=3)):
            parts.append(ShardedTable(rows, 2, name="t").values.numpy())
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert -0.05 <= whole.min() < -0.049 and 0.049 < whole.max() <= 0.05


def test_partitioner_of_servers_splits_tables():
    import tensorflow as tf

    from trainers.strategies.partition import table_partitioner

    def parts(rows, width, **options):
        partitioner = table_partitioner(3, options.get("min_shard_bytes"))
        return partitioner(shape=tf.TensorShape([rows, width]), dtype=tf.float32)

    assert parts(1000, 8) == [3, 1] and parts(2, 8) == [2, 1]
    assert parts(1000, 8, min_shard_bytes=1 << 20) == [1, 1]
    assert parts(1000, 8, min_shard_bytes=16_000) == [2, 1]
    largest = parts(100_000_000, 64)[0]  # 25.6 GB: no part is more than one message may hold
    assert 100_000_000 / largest * 64 * 4 <= 1 << 28
    for wrong in (0, -1, 2.5, True, "1"):
        with pytest.raises(ConfigError, match="min_shard_bytes"):
            table_partitioner(3, wrong)


def test_a_strategy_has_the_partitioner_while_a_table_is_made_and_no_longer():
    from types import SimpleNamespace

    from trainers.strategies.partition import set_table_partitioner, split_over_servers, table_partitioner

    class Strategy:
        extended = SimpleNamespace(_variable_partitioner=None)

    strategy, partitioner = Strategy(), table_partitioner(3, None)
    set_table_partitioner(strategy, partitioner)
    assert strategy.extended._variable_partitioner is None
    with pytest.raises(ZeroDivisionError), split_over_servers(strategy):
        assert strategy.extended._variable_partitioner is partitioner
        raise ZeroDivisionError
    assert strategy.extended._variable_partitioner is None
