"""Models that have no weights before they are called: a checkpoint of one gives back what was trained."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import classification_columns
from trainers import ArrayDataset, Trainer, TrainerConfig
from trainers.export.from_checkpoint import export_checkpoint

COLUMNS = {name: values for name, values in classification_columns(96).items() if name in "xy"}


def sequential(kit):
    inner = kit.Sequential([kit.layers.Dense(3, "relu"), kit.layers.BatchNormalization()])
    return kit.Sequential([inner, kit.layers.Dense(1)])


def adapted(kit):
    class Adapted(kit.Model):
        def __init__(self):
            super().__init__()
            self.scaled, self.bins = kit.layers.Normalization(), kit.layers.Discretization(num_bins=4)
            self.scaled.adapt(COLUMNS["x"])
            self.bins.adapt(COLUMNS["x"][:, :1])
            self.looked_up, self.rest = kit.layers.Embedding(4, 2), sequential(kit)
            self.joined = kit.layers.Concatenate()

        def call(self, features, training=None):
            x = features["x"]
            bins = self.looked_up(self.bins(x[:, 0]))
            return self.rest(self.joined([self.scaled(x), bins]), training=training)

    return Adapted()


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
@pytest.mark.parametrize("model", [sequential, adapted], ids=lambda f: f.__name__)
def test_checkpoint_of_a_model_that_is_built_by_its_first_call_is_exported_and_gone_on_from(tmp_path, library, model):
    kit = importlib.import_module(library)

    def build(context):
        kit.utils.set_random_seed(1)
        built = model(kit)
        built.compile(kit.optimizers.Adam(0.01), "mse")
        return built

    data = ArrayDataset(COLUMNS)

    def trained(steps):
        settings = {"label": "y", "global_batch_size": 32, "features": ["x"], "tensorboard": False}
        return Trainer(TrainerConfig(directory=str(tmp_path), steps=steps, **settings), build, data).fit()

    trained(2)
    result = trained(3)
    assert result.resumed_from == 2
    expected = result.model.predict(COLUMNS["x"] if model is sequential else {"x": COLUMNS["x"]}, verbose=0)
    spec = dict(data.feature_spec())
    version = export_checkpoint(tmp_path, build, tmp_path / "out", transform_graph=None, raw_feature_spec=spec)
    served = tf.saved_model.load(str(version)).signatures["raw_features"](x=tf.constant(COLUMNS["x"]))
    np.testing.assert_allclose(served["outputs"], expected, rtol=1e-5, atol=1e-6)
