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
    return {
        "ids": ids,
        "y": (ids[:, 0] % 4 > 1).astype(np.float32),
        "each": (ids % 4 > 1).astype(np.float32)[..., None],
    }


def build_with_table(rows: int = 1001, width: int = 4, optimizer: str = "adagrad", masked: bool = False):
    """Returns the `build_model` of a model with one sharded table; `masked` has an answer for each id above 200."""

    def build_model(context):
        import keras

        from trainers import ShardedEmbedding

        inputs = {"ids": keras.Input((3,), dtype="int64", name="ids")}
        found = ShardedEmbedding(rows, width, name="items", optimizer=optimizer)(inputs["ids"])
        if masked:
            mask = keras.layers.Lambda(lambda ids: keras.ops.cast(ids > 200, "float32")[..., None])(inputs["ids"])
            found = keras.layers.Masking()(found * mask)
            model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="ones")(found))
            model.compile(keras.optimizers.SGD(0.1), "mse")
            return model
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
    keep, masked = said.pop("keep"), said.pop("masked", False)
    whole = columns(rows)
    # 70 records: the last batch of an evaluation is partial.
    data, held_out = (ArrayDataset({name: column[:n] for name, column in whole.items()}) for n in (None, 70))

    def run(directory: str, masked: bool, **said):
        config = TrainerConfig(
            directory=directory,
            label="each" if masked else "y",
            features=["ids"],
            global_batch_size=64,
            steps_per_call=2,
            tensorboard=False,
            eval_batch_size=48,
            checkpoint=CheckpointConfig(every_steps=4, keep=keep),
            **said,
        )
        build = build_with_table(rows, width, optimizer, masked)
        return Trainer(config, build, data, held_out if evaluate else None).fit()

    run(directory, masked=False, **said)
    if masked:
        run(f"{directory}/masked", masked=True, steps=2)
    index = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {}).get("index", 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (Path(directory) / f"peak-{index}").write_text(str(peak))
