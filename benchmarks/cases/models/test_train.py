"""The training loop beside Keras' own `fit`, and our feed from disk beside the same rows in memory.

One process, one device, the same model: what differs is who turns the crank. Start-up (tracing, building) is left out of both.
On the CPU, and on the first GPU where there is one.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.data import transformed
from benchmarks.peers.registry import PEERS
from cluster.benchmarking.pairs import paired
from cluster.benchmarking.results import record_pair

pytest.importorskip("tensorflow")

ROWS, BATCH_SIZE, ROUNDS = 262_144, 1024, 5


def _layers(inputs, outputs_of, activation="sigmoid", loss="binary_crossentropy"):
    """A network of 44 thousand weights: about 10 µs an example on one core, forward and backward."""
    import keras

    hidden = keras.layers.Dense(256, activation="relu")(outputs_of(inputs))
    hidden = keras.layers.Dense(128, activation="relu")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(1, activation=activation)(hidden))
    model.compile(keras.optimizers.Adam(1e-3), loss)
    return model


def _matrix_model(_context):
    import keras

    return _layers({"x": keras.Input((40,), name="x")}, lambda inputs: inputs["x"])


def _column_model(_context):
    import keras

    names = [*transformed.FLOATS[1:], *transformed.INTS]
    inputs = {n: keras.Input((), name=n, dtype="float32" if n in transformed.FLOATS else "int64") for n in names}

    def stacked(values):
        columns = [keras.ops.cast(values[n], "float32") for n in names]
        scaled = [c if n in transformed.FLOATS else keras.ops.log1p(c) for n, c in zip(names, columns)]
        return keras.ops.stack(scaled, axis=1)

    return _layers(inputs, stacked, None, "mse")


@pytest.fixture(params=["GPU", "CPU"])
def device(request):
    """What runs the steps: its kind, and its name in tables."""
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    if request.param == "CPU":
        return "cpu", ""
    if not found:
        pytest.skip("no GPU: TensorFlow finds none on this machine")
    return "gpu", f" on {tf.config.experimental.get_device_details(found[0]).get('device_name', 'a GPU')}"


def _session(directory, build_model, data, label, kind="cpu"):
    """Returns a function that makes one call of as many steps as asked, its first call made."""
    from trainers import TrainerConfig
    from trainers.loop.session import Session

    config = TrainerConfig(
        directory=str(directory),
        label=label,
        global_batch_size=BATCH_SIZE,
        steps=1_000_000,
        strategy="one_device",
        strategy_options={"device": f"/{kind}:0"},
        deterministic=False,
        tensorboard=False,
        log_every_steps=1_000_000,
    )
    session = Session(config, build_model, data, None, None)
    session.call(16, False)

    def run(steps: int) -> None:
        for _ in range(steps // 64):
            session.call(64, False)

    return run, session


def test_loop_against_keras_fit_in_memory(benchmark, tmp_path, device):
    import tensorflow as tf

    from trainers import ArrayDataset

    kind, title = device
    rng = np.random.default_rng(3)
    x = rng.standard_normal((ROWS, 40), np.float32)
    y = (x[:, 0] + rng.standard_normal(ROWS) > 0).astype(np.int64)
    steps = ROWS // BATCH_SIZE
    run, session = _session(tmp_path, _matrix_model, ArrayDataset({"x": x, "y": y}), "y", kind)
    with tf.device(f"/{kind}:0"):
        peer = _matrix_model(None)

    def fit() -> None:
        with tf.device(f"/{kind}:0"):
            peer.fit({"x": x}, y, batch_size=BATCH_SIZE, epochs=1, shuffle=True, verbose=0)

    result = paired(lambda: run(steps), fit, ROUNDS)
    record_pair(
        benchmark,
        result,
        PEERS["keras"].title,
        records=ROWS,
        what=f"training loop, rows in memory{title}",
        package=PEERS["keras"].package,
        headline=True,
    )
    assert session.state.step == 16 + steps * (ROUNDS + 1)
    losses = (
        float(session.adapter.model.evaluate({"x": x}, y, batch_size=8192, verbose=0)),
        float(peer.evaluate({"x": x}, y, batch_size=8192, verbose=0)),
    )
    assert max(losses) < 0.6, losses  # both have learned: neither skipped its work
    benchmark.extra_info["us_per_example"] = round(1e6 * result.ours_s / ROWS, 2)
    benchmark.pedantic(lambda: run(steps), rounds=1)


def test_feed_from_disk_against_the_same_rows_in_memory(benchmark, tmp_path):
    from trainers import ArrayDataset

    on_disk = transformed.parquet(ROWS)
    table = pa.Table.from_batches(list(on_disk.read_batches()))
    columns = {name: table[name].to_numpy() for name in table.column_names}
    in_memory = ArrayDataset(columns)
    disk, disk_session = _session(tmp_path / "disk", _column_model, on_disk, "f0")
    memory, memory_session = _session(tmp_path / "memory", _column_model, in_memory, "f0")
    steps = ROWS // BATCH_SIZE

    result = paired(lambda: disk(steps), lambda: memory(steps), ROUNDS)
    record_pair(
        benchmark, result, "the same loop, rows in memory", records=ROWS, what="training loop, Parquet through the feed"
    )
    benchmark.extra_info["us_per_example"] = round(1e6 * result.ours_s / ROWS, 2)
    assert disk_session.state.step == memory_session.state.step
    benchmark.pedantic(lambda: disk(steps), rounds=1)
