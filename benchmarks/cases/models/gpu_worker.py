"""`python -m benchmarks.cases.models.gpu_worker SETTINGS`: a process that trains a click model on one device, on request.

SETTINGS is a mapping in JSON: `device`, such as "/gpu:0"; `path`, of rows of `benchmarks.data.click_numbers`; `batch`;
`deterministic`, which holds for a whole process. The first line of output names the card. Each line of input,
{"what": "ours" | "repeated" | "keras", "xla": ..., "steps": ...}, is answered with a line of JSON: wall and processor seconds, and
what our log says of them. The model is 26 embeddings of 50,000 x 32 and three layers of 1024, 512 and 256; it is built and compiled
where it is first asked for.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks.data.click_numbers import FLOATS, INTS, WORDS

# The defaults of a training: a log's line ends every round, and waits for the device.
STEPS_PER_CALL, STEPS_PER_LINE = 16, 100


def build(_context: Any = None, jit: bool = False) -> Any:
    """Returns the compiled model, with an AUC among its metrics."""
    import keras

    inputs = {name: keras.Input((), name=name, dtype="float32") for name in FLOATS}
    inputs |= {name: keras.Input((), name=name, dtype="int64") for name in INTS}
    parts = [keras.ops.stack([inputs[name] for name in FLOATS], axis=1)]
    parts += [keras.layers.Embedding(WORDS, 32)(inputs[name]) for name in INTS]
    hidden = keras.layers.Concatenate()(parts)
    for width in (1024, 512, 256):
        hidden = keras.layers.Dense(width, activation="relu")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid", dtype="float32")(hidden))
    metrics = [keras.metrics.AUC(name="auc", num_thresholds=200)]
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", metrics=metrics, jit_compile=jit)
    return model


def ours(settings: dict[str, Any], xla: bool) -> Callable[[int], dict[str, float]]:
    """Returns what makes steps of our loop from the files, metrics and log on, with default settings but `xla`."""
    from engine import Dataset
    from trainers import TrainerConfig
    from trainers.loop.session import Session

    config = TrainerConfig(
        directory=tempfile.mkdtemp(prefix="fullpass-bench-"),
        label="label",
        global_batch_size=settings["batch"],
        steps=1_000_000,
        strategy="one_device",
        strategy_options={"device": settings["device"]},
        deterministic=settings["deterministic"],
        xla=xla,
        steps_per_call=STEPS_PER_CALL,
        log_every_steps=STEPS_PER_LINE,
    )
    session = Session(config, build, Dataset.open(settings["path"]), None, None)

    def run(steps: int) -> dict[str, float]:
        end = session.state.step + steps
        while session.state.step < end:
            session.call(min(STEPS_PER_CALL, end - session.state.step), False)
        last = session._last
        assert end % STEPS_PER_LINE == 0 and last["loss"] == last["loss"], last
        return {key: float(last[key]) for key in ("input_wait_share", "step_ms_p50", "loss", "auc")}

    return run


def repeated(settings: dict[str, Any], xla: bool) -> Callable[[int], dict[str, float]]:
    """Returns what makes steps on one batch that lies on the device: no input, no metrics, no log."""
    import keras
    import numpy as np
    import tensorflow as tf

    rng, size = np.random.default_rng(0), settings["batch"]
    with tf.device(settings["device"]):
        rows = {name: tf.constant(rng.standard_normal(size), tf.float32) for name in FLOATS}
        rows |= {name: tf.constant((WORDS * rng.random(size) ** 3).astype(np.int64)) for name in INTS}
        labels = tf.constant(rng.random((size, 1)) < 0.5, tf.float32)
        model = build()
        optimizer = model.optimizer
        optimizer.build(model.trainable_variables)

    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras.losses.binary_crossentropy(labels, model(rows, training=True)))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    body = tf.function(step, jit_compile=True) if xla else step

    @tf.function(autograph=False)
    def call(steps: Any) -> Any:
        start = (tf.constant(0), tf.constant(0.0))
        return tf.while_loop(lambda i, _: i < steps, lambda i, _: (i + 1, body()), start, parallel_iterations=1)[1]

    def run(steps: int) -> dict[str, float]:
        with tf.device(settings["device"]):
            return {"loss": float(call(tf.constant(steps)))}

    return run


def keras_fit(settings: dict[str, Any], xla: bool) -> Callable[[int], dict[str, float]]:
    """Returns what makes steps of Keras' own `fit`, of whole batches that lie in memory, in another order each pass."""
    import tensorflow as tf

    from engine import Dataset

    with tf.device("/cpu:0"):
        columns, labels = _batches_in_memory(Dataset.open(settings["path"]), settings["batch"])
        data = tf.data.Dataset.from_tensor_slices((columns, labels))
        data = data.shuffle(len(labels)).repeat().prefetch(tf.data.AUTOTUNE)
    with tf.device(settings["device"]):
        model = build(jit=xla)

    def run(steps: int) -> dict[str, float]:
        with tf.device(settings["device"]):
            history = model.fit(data, epochs=1, steps_per_epoch=steps, verbose=0).history
        return {"loss": history["loss"][0], "auc": history["auc"][0]}

    return run


def _batches_in_memory(dataset: Any, size: int) -> tuple[dict[str, Any], Any]:
    import pyarrow as pa

    table = pa.Table.from_batches(list(dataset.read_batches()))
    whole = table.num_rows // size
    arrays = {name: table[name].to_numpy()[: whole * size].reshape(whole, size) for name in table.column_names}
    return arrays, arrays.pop("label")


KINDS = {"ours": ours, "repeated": repeated, "keras": keras_fit}


def card(device: str) -> str:
    """Returns the name of the device's hardware; empty where there is no such device."""
    import tensorflow as tf

    found = tf.config.list_physical_devices(device.strip("/").split(":")[0].upper())
    if not found:
        return ""
    for each in found:
        if each.device_type == "GPU":
            tf.config.experimental.set_memory_growth(each, True)
    return str(tf.config.experimental.get_device_details(found[0]).get("device_name", found[0].device_type))


def main(settings: dict[str, Any]) -> None:
    """Names the card, then answers each line."""
    print(json.dumps({"card": card(settings["device"])}), flush=True)
    made = functools.cache(lambda what, xla: KINDS[what](settings, xla))
    for line in sys.stdin:
        asked = json.loads(line)
        run = made(asked["what"], asked["xla"])
        wall, cpu = time.perf_counter(), time.process_time()
        found = run(asked["steps"])
        times = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        print(json.dumps({**times, **found}), flush=True)
    os._exit(0)  # sessions are left as they are: their directories are of no further use


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
