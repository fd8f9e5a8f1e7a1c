"""A model is of one generation of Keras: parts of the other one are refused before anything is built."""

from __future__ import annotations

import pytest

from engine import ConfigError
from tests.support.models import classification_columns
from trainers import ArrayDataset, Trainer, TrainerConfig


def mixed(base, part):
    """Returns a build_model of one generation, with one part of the other."""

    def build_model(context):
        import keras
        import tf_keras

        one, other = (keras, tf_keras) if base == "keras" else (tf_keras, keras)

        class Model(one.Model):
            def __init__(self):
                super().__init__()
                hidden = (other if "layer" in str(part) else one).layers.Dense(4, trainable=part != "frozen layer")
                self.parts = {"deep": [hidden]}
                self.head = one.layers.Dense(1, activation="sigmoid")

            def call(self, features):
                return self.head(self.parts["deep"][0](features["x"]))

        pick = lambda name: other if part == name else one
        model = Model()
        model.compile(
            pick("optimizer").optimizers.SGD(0.1),
            pick("loss").losses.BinaryCrossentropy(),
            metrics=[pick("metric").metrics.AUC(name="auc")],
        )
        return model

    return build_model


@pytest.mark.parametrize("base", ["keras", "tf_keras"])
@pytest.mark.parametrize("part", ["layer", "frozen layer", "optimizer", "loss", "metric", None])
def test_parts_of_the_other_keras_are_refused_by_name(base, part, tmp_path):
    pytest.importorskip("tf_keras")
    data = ArrayDataset({name: classification_columns()[name] for name in ("x", "y")})
    config = TrainerConfig(
        directory=str(tmp_path), label="y", features=["x"], global_batch_size=64, steps=2, tensorboard=False
    )
    trainer = Trainer(config, mixed(base, part), data, eval=data)
    if part is None or (part == "frozen layer" and base == "keras"):
        assert trainer.fit().steps == 2
        return
    if part == "optimizer" or (part == "metric" and base == "tf_keras"):  # compile refuses them by itself
        with pytest.raises((ValueError, AttributeError), match=r"Could not interpret optimizer|_distribute_strategy"):
            trainer.fit()
        return
    one, other = ("Keras 3", "tf_keras") if base == "keras" else ("tf_keras", "Keras 3")
    what = {"loss": "loss BinaryCrossentropy", "metric": "metric AUC 'auc'"}.get(part, "layer Dense 'dense")
    with pytest.raises(ConfigError, match=rf"Model is of {one}.*, but its {what}.* is of {other}"):
        trainer.fit()
