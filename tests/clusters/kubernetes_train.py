"""What the pods of the training tests run: `python kubernetes_train.py DATA OUT STEPS` under TF_CONFIG."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def build_model(context):
    """Returns a compiled Keras 3 model whose BatchNorm and dropout have states of their own."""
    import keras

    inputs = {name: keras.Input((), name=name) for name in ("dep_delay", "distance", "hour")}
    columns = [keras.layers.Reshape((1,))(inputs[name]) for name in sorted(inputs)]
    hidden = keras.layers.BatchNormalization()(keras.layers.Concatenate()(columns))
    hidden = keras.layers.Dropout(0.1)(keras.layers.Dense(16, activation="relu")(hidden))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["accuracy"])
    return model


def main(data: str, out: str, steps: str) -> None:
    """Trains, and lets the leading worker write the model and a digest of its weights."""
    from engine import Dataset
    from trainers import Trainer, TrainerConfig
    from trainers.config.saving import CheckpointConfig
    from trainers.supervision.tf_config import task_from_env

    task = task_from_env()
    print(f"training as {task.type}-{task.index} of {task.num_training_tasks}", flush=True)
    config = TrainerConfig(
        directory=out,
        label="late",
        global_batch_size=64,
        steps=int(steps),
        strategy="multi_worker_mirrored",
        steps_per_call=5,
        checkpoint=CheckpointConfig(every_steps=50),
        tensorboard=False,
        seed=7,
    )
    result = Trainer(config, build_model, Dataset.open(data)).fit()
    print(f"finished {result.steps} steps, resumed from {result.resumed_from}", flush=True)
    if result.is_chief:
        result.model.export(f"{out}/export/1", verbose=False)
        digest = hashlib.sha256(b"".join(weight.tobytes() for weight in result.model.get_weights())).hexdigest()
        answer = {"digest": digest, "steps": result.steps, "resumed_from": result.resumed_from}
        Path(out, "result.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
