"""Labels of a loss that takes numbers of classes: whole numbers, whatever type they come in."""

from __future__ import annotations

import importlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import DataError, Dataset
from tests.support.models import classification_columns
from trainers import ArrayDataset, Trainer, TrainerConfig
from trainers.data.labels import labels_of_classes

COLUMNS = {name: values for name, values in classification_columns(96).items() if name in "xy"}


def trained(tmp_path, labels, library="keras", in_file=False):
    kit = importlib.import_module(library)

    def build(context):
        kit.utils.set_random_seed(1)
        inputs = {"x": kit.Input((8,), name="x")}
        model = kit.Model(inputs, kit.layers.Dense(4)(inputs["x"]))
        model.compile(kit.optimizers.SGD(0.1), kit.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    if not in_file:
        data = ArrayDataset({"x": COLUMNS["x"], "y": labels})
    else:
        table = pa.table({"x": pa.FixedSizeListArray.from_arrays(COLUMNS["x"].ravel(), 8), "y": labels})
        pq.write_table(table, tmp_path / "rows.parquet")
        data = Dataset.open([str(tmp_path / "rows.parquet")])
    settings = {"label": "y", "global_batch_size": 32, "steps": 2, "tensorboard": False}
    return Trainer(TrainerConfig(directory=str(tmp_path / "run"), **settings), build, data).fit().model


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
@pytest.mark.parametrize("in_file", [False, True])
def test_fraction_is_refused_with_its_record(tmp_path, library, in_file):
    labels = COLUMNS["y"].astype(np.float32)
    labels[17] = 2.5
    with pytest.raises(DataError, match=r"label 'y' is 2.5 in record 17 .*the loss takes the number of a class"):
        trained(tmp_path, labels, library, in_file=in_file)


@pytest.mark.parametrize("in_file", [False, True])
def test_fraction_in_a_list_is_refused_with_its_record(tmp_path, in_file):
    labels = COLUMNS["y"].astype(np.float32)[:, None]
    labels[17, 0] = 2.5
    labels = pa.FixedSizeListArray.from_arrays(labels.ravel(), 1) if in_file else labels
    with pytest.raises(DataError, match=r"label 'y' is 2.5 in record 17 .*the loss takes the number of a class"):
        trained(tmp_path, labels, in_file=in_file)


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_fraction_behind_what_is_read_before_is_refused_by_its_step(tmp_path, library):
    rows = 1 << 21
    labels = np.where(np.arange(rows) < rows // 2 + 65_536, 2, 1.3).astype(np.float32)
    table = pa.table({"x": np.ones(rows, np.float32), "y": labels})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=65_536)
    kit = importlib.import_module(library)

    def build(context):
        inputs = {"x": kit.Input((), name="x")}
        hidden = kit.layers.Reshape((1,))(inputs["x"])
        model = kit.Model(inputs, kit.layers.Dense(4)(hidden))
        model.compile("sgd", [kit.losses.SparseCategoricalCrossentropy(from_logits=True)])
        return model

    data = Dataset.open([str(tmp_path / "rows.parquet")])
    settings = {"label": "y", "global_batch_size": 256, "steps": 1, "tensorboard": False}
    with pytest.raises(
        DataError, match=r"label 'y' is 1.3 in record 1,\d+,\d+ \(.*rows.parquet record .*the number of a class"
    ):
        Trainer(TrainerConfig(directory=str(tmp_path / "run"), **settings), build, data).fit()


def test_whole_floats_train_as_whole_numbers_do(tmp_path):
    models = [trained(tmp_path / str(kind), COLUMNS["y"].astype(kind)) for kind in ("float32", "int64")]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)


def test_losses_that_take_classes_are_known_however_they_are_given():
    import keras

    sparse = ["sparse_categorical_crossentropy", "SparseCategoricalCrossentropy"]
    sparse += [keras.losses.sparse_categorical_crossentropy, keras.losses.SparseCategoricalCrossentropy()]
    for loss in sparse:
        assert labels_of_classes(loss, ["y"]) == ["y"]
        assert labels_of_classes({"z": loss, "y": "mse"}, ["y", "z"]) == ["z"]
    for loss in ("mse", keras.losses.CategoricalCrossentropy(), None, lambda y, p: y, ["mse", "mae"]):
        assert labels_of_classes(loss, ["y", "z"]) == []
