"""A batch of numbers as one buffer, which a GPU takes in one copy: the same batches, the same bits of a training."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from engine import Dataset, Remainder, write_batches
from engine.feed.columns import ONE_BUFFER
from trainers import Trainer, TrainerConfig
from trainers.models.run_data import RunData
from trainers.strategies.placement import Placement

ROWS, BATCH = 12_500, 4_100  # smaller batches go to TensorFlow several at a time


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    rng = np.random.default_rng(0)
    x, c = rng.normal(size=(ROWS, 3)).astype(np.float32), rng.integers(-(1 << 40), 1 << 40, (ROWS, 2))
    columns = {f"x{i}": x[:, i] for i in range(3)} | {"c0": c[:, 0], "y": (x[:, 0] > 0).astype(np.int64), "c1": c[:, 1]}
    schema = pa.schema([pa.field(name, pa.from_numpy_dtype(v.dtype), False) for name, v in columns.items()])
    path = tmp_path_factory.mktemp("numbers") / "rows.parquet"
    batch = pa.RecordBatch.from_arrays([pa.array(v) for v in columns.values()], schema=schema)
    write_batches([batch], schema, str(path), "parquet")
    return Dataset.open(str(path))


@pytest.mark.parametrize("remainder", [Remainder.DROP, Remainder.PAD])
def test_unpacked_batches_are_the_same(dataset, remainder):
    options = {"global_batch_size": BATCH, "seed": 2, "num_epochs": 2, "remainder": remainder, "with_record_ids": True}
    feed, other = dataset.feed(**options), dataset.feed(**options)
    unpack = tf.function(feed.unpack)
    one, several = feed.dataset(one_buffer=True), other.dataset()
    row = 3 * 8 + 3 * 4
    assert one.element_spec[ONE_BUFFER] == tf.TensorSpec([BATCH * row], tf.uint8)
    assert "int64" not in one.element_spec and "float32" not in one.element_spec
    count = 0
    for packed, expected in zip(one, several, strict=True):
        got, want = unpack(packed), other.unpack(expected)
        assert list(got) == list(want)
        for name in want:
            np.testing.assert_array_equal(got[name], want[name], name)
        count += 1
    assert count == 2 * (ROWS // BATCH + (remainder is Remainder.PAD))


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        (["x0", "x1"], {}),
        (["c0", "y"], {}),
        (None, {"remainder": Remainder.PARTIAL}),
        (None, {"global_batch_size": 100}),
    ],
)
def test_batches_that_do_not_fit_into_one_come_as_ever(dataset, columns, options):
    feed = dataset.feed(**{"global_batch_size": BATCH, "columns": columns, **options})
    assert feed.dataset(one_buffer=True).element_spec == feed.dataset().element_spec


def _build(_context):
    import keras

    inputs = {name: keras.Input((), name=name) for name in ("x0", "x1", "x2")}
    inputs |= {name: keras.Input((), name=name, dtype="int64") for name in ("c0", "c1")}
    numbers = [keras.ops.cast(value, "float32") / (1e12 if name[0] == "c" else 1) for name, value in inputs.items()]
    hidden = keras.layers.Dense(8, activation="relu")(keras.ops.stack(numbers, axis=1))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    return model


def test_a_training_has_the_same_bits(dataset, tmp_path, monkeypatch):
    specs, opened = [], RunData.open

    def noted(self, *arguments):
        result = opened(self, *arguments)
        specs.append(set(self.dataset.element_spec))
        return result

    monkeypatch.setattr(RunData, "open", noted)
    weights = []
    for one_buffer in (True, False):
        monkeypatch.setattr(Placement, "one_buffer", property(lambda self, wanted=one_buffer: wanted))
        config = TrainerConfig(
            directory=str(tmp_path / str(one_buffer)), label="y", global_batch_size=BATCH, epochs=2, strategy="one_device",
            tensorboard=False, audit=True,
        )  # fmt: skip
        weights.append(Trainer(config, _build, dataset).fit().model.get_weights())
    assert specs == [{ONE_BUFFER, "record_ids"}, {"int64", "float32", "record_ids"}]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
