"""What the workers of the tests of sharded tables run: `train(directory, settings as JSON)`."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import numpy as np


def columns(rows: int, records: int = 512) -> dict[str, np.ndarray]:
    """Returns ids [records, 3] of every other row at most, and a label."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, rows // 2, (records, 3)) * 2
    return {"ids": ids, "y": (ids[:, 0] % 4 > 1).astype(np.float32)}


def build_with_table(rows: int = 1001, width: int = 4, optimizer: str = "adagrad"):
    """Returns the `build_model` of a model with one sharded table."""

    def build_model(context):
        import keras

        from trainers import ShardedEmbedding

        inputs = {"ids": keras.Input((3,), dtype="int64", name="ids")}
        found = ShardedEmbedding(rows, width, name="items", optimizer=optimizer)(inputs["ids"])
        found = keras.layers.Flatten()(found)
        model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="ones")(found))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model

    return build_model


def train(directory: str, settings: str = "{}") -> None:
    """Trains a model with one sharded table and writes how much memory this process took at most."""
    from trainers import ArrayDataset, CheckpointConfig, Trainer, TrainerConfig

    said = {
        "rows": 1001,
        "width": 4,
        "optimizer": "adagrad",
        "evaluate": True,
        "steps": 8,
        "keep": 4,
        **json.loads(settings),
    }
    rows, width, optimizer, evaluate = (said.pop(k) for k in ("rows", "width", "optimizer", "evaluate"))
    keep = said.pop("keep")

    config = TrainerConfig(
        directory=directory,
        label="y",
        global_batch_size=64,
        steps_per_call=2,
        tensorboard=False,
        eval_batch_size=48,
        checkpoint=CheckpointConfig(every_steps=4, keep=keep),
        **said,
    )
    data = ArrayDataset(columns(rows))
    # 70 records: the last batch of an evaluation is partial.
    held_out = ArrayDataset({name: column[:70] for name, column in columns(rows).items()})
    Trainer(config, build_with_table(rows, width, optimizer), data, held_out if evaluate else None).fit()
    index = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {}).get("index", 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (Path(directory) / f"peak-{index}").write_text(str(peak))
