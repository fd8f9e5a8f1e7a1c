"""`python -m benchmarks.cases.models.scaling_worker CORE DIRECTORY BATCH`: one training process that steps on request.

Each line of standard input is a number of calls of 16 steps; each is answered with a line of JSON: wall
and processor seconds, the step reached, a hash of the weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time

UNITS, LAYERS, FEATURES, STEPS_PER_CALL = 512, 3, 256, 16


def build_model(_context):
    """Returns a network of 0.66 million weights: 2.6 MB of gradients and 4 GFLOP for 1024 examples a step."""
    import keras

    inputs = {"x": keras.Input((FEATURES,), name="x")}
    hidden = inputs["x"]
    for _ in range(LAYERS):
        hidden = keras.layers.Dense(UNITS, activation="relu")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    model.compile("sgd", "mse")
    return model


def main(core: int, directory: str, batch: int) -> None:
    """Builds the session on one core, makes the calls asked for."""
    os.sched_setaffinity(0, {core})
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    from trainers import ArrayDataset, CheckpointConfig, TrainerConfig
    from trainers.loop.session import Session

    rng = np.random.default_rng(0)
    data = ArrayDataset({"x": rng.normal(size=(8192, FEATURES)), "y": rng.normal(size=8192)})
    config = TrainerConfig(
        directory=directory,
        label="y",
        global_batch_size=batch,
        steps=1_000_000,
        steps_per_call=STEPS_PER_CALL,
        tensorboard=False,
        log_every_steps=1_000_000,
        checkpoint=CheckpointConfig(every_steps=None),
    )
    session = Session(config, build_model, data, None, None)
    session.call(STEPS_PER_CALL, False)
    print("READY", flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            session.call(STEPS_PER_CALL, False)
        took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "step": session.state.step}
        weights = b"".join(v.numpy().tobytes() for v in session.adapter.trainable)
        print(json.dumps({**took, "weights": hashlib.sha256(weights).hexdigest()}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
