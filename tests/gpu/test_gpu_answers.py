"""`evaluate` and `predict` on a GPU: the model lies and runs there, and what comes of it is what a CPU's answers give."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.gpu.test_gpu import build, data, run_program

ROWS, HIDDEN = 4096, 64  # one batch, and the width of the model's widest layer


def answered(directory, out, exact):
    """Evaluates the model in a directory and writes its predictions, where TensorFlow places it; returns what came of it.

    Args:
        directory: holds `models` and `rows.parquet`.
        out: of the predictions.
        exact: multiply in float32, as CPUs do; else TensorFlow's default holds, on newer cards TF32 with 10 bits of fraction.
    """
    import tensorflow as tf

    from trainers.evaluation.evaluate import evaluate
    from trainers.export.predict import LoadedModel
    from trainers.serving.predict import predict

    if exact:
        tf.config.experimental.enable_tensor_float_32_execution(False)
    models, rows = f"{directory}/models", f"{directory}/rows.parquet"
    result = evaluate(models, rows, "y", slices=["s"], batch_rows=ROWS)
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] if on_gpu else 0
    report = predict(models, rows, out, keep=["id"], num_shards=2, batch_rows=ROWS)
    return {
        "devices": LoadedModel(models).devices,
        "peak": peak,
        "rows": [result.rows, report.rows],
        "metrics": {"": dict(result.overall), **{str(each.key["s"]): dict(each.metrics) for each in result.slices}},
        "half_widths": dict(result.half_widths),
    }


def in_another_process(directory, out, exact=True, **environment):
    program = (
        "import json, sys; from tests.gpu.test_gpu_answers import answered\n"
        "print(json.dumps(answered(sys.argv[1], sys.argv[2], bool(json.loads(sys.argv[3])))))"
    )
    return run_program(program, directory, out, json.dumps(exact), **environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that needs no training, rows with segments, and what a process that sees no GPU made of both, in `cpu`."""
    from trainers.export.export import export_saved_model

    directory = tmp_path_factory.mktemp("answers")
    spec = {name: feature for name, feature in data().feature_spec().items() if name != "y"}
    export_saved_model(build(None), directory / "models", transform_graph=None, raw_feature_spec=spec)
    columns = {name: pa.array(list(values)) for name, values in data().columns.items()}
    columns.update({"s": pa.array([f"s{row % 3}" for row in range(ROWS)]), "id": pa.array(range(ROWS))})
    pq.write_table(pa.table(columns), directory / "rows.parquet", row_group_size=ROWS)
    return directory


@pytest.fixture(scope="module")
def on_cpu(folder):
    return in_another_process(folder, folder / "cpu", CUDA_VISIBLE_DEVICES="-1")


def predictions(directory):
    from engine import Dataset

    table = pa.Table.from_batches(list(Dataset.open(directory).read_batches()))
    assert table["id"].to_pylist() == list(range(ROWS))
    return table["outputs"].to_numpy()


def check_metrics(found, wanted, within, flipped):
    """Holds metrics to others; `flipped` rows may lie on the other side of 0.5."""
    assert found["rows"] == wanted["rows"] == [ROWS, ROWS] and found["metrics"].keys() == wanted["metrics"].keys()
    for segment, metrics in wanted["metrics"].items():
        assert found["metrics"][segment].keys() == metrics.keys() > {"auc", "binary_crossentropy", "precision"}
        for name, value in metrics.items():
            counts = name in ("binary_accuracy", "precision", "recall")
            allowed = within + (flipped / (ROWS / 16) if counts else 0)
            assert found["metrics"][segment][name] == pytest.approx(value, abs=allowed), (segment, name)


def test_model_lies_and_runs_on_the_gpu_and_gives_the_results_of_a_cpu(folder, on_cpu, tmp_path):
    found = in_another_process(folder, tmp_path / "gpu")
    assert on_cpu["devices"] and not any("GPU" in device for device in on_cpu["devices"])
    assert found["devices"] and all("GPU:0" in device for device in found["devices"])
    assert found["peak"] > ROWS * HIDDEN * 4, "activations of a batch were there, too, not the weights alone"
    np.testing.assert_allclose(predictions(tmp_path / "gpu"), predictions(folder / "cpu"), rtol=1e-4, atol=1e-5)
    check_metrics(found, on_cpu, within=1e-4, flipped=1)
    assert found["half_widths"] == pytest.approx(on_cpu["half_widths"], rel=0.01)


def test_tensorflows_default_arithmetic_of_the_gpu_stays_near_a_cpus(folder, on_cpu, tmp_path):
    found = in_another_process(folder, tmp_path / "gpu", exact=False)
    np.testing.assert_allclose(predictions(tmp_path / "gpu"), predictions(folder / "cpu"), atol=5e-3)
    check_metrics(found, on_cpu, within=5e-3, flipped=16)


def test_batch_that_is_too_large_for_the_gpus_memory_goes_in_smaller_ones(tmp_path):
    """4096 rows take 1.6 GB in the model, of 512 MB that there are; the process's own memory, which is watched, does not rise."""
    from tests.support.scored_model import save_wide_model

    models = save_wide_model(tmp_path, 100_000)
    x = np.random.default_rng(8).normal(size=ROWS).astype(np.float32)
    pq.write_table(pa.table({"x": x, "y": (x > 0).astype(np.int64)}), tmp_path / "rows.parquet")
    program = (
        "import json, sys, tensorflow as tf; from trainers.evaluation.evaluate import evaluate\n"
        "limit = tf.config.LogicalDeviceConfiguration(memory_limit=512)\n"
        "tf.config.set_logical_device_configuration(tf.config.list_physical_devices('GPU')[0], [limit])\n"
        "found = evaluate(sys.argv[1], sys.argv[2], 'y')\n"
        "print(json.dumps([found.rows, found.overall['mean_prediction']]))"
    )
    rows, mean = run_program(program, models, tmp_path / "rows.parquet", TF_FORCE_GPU_ALLOW_GROWTH="false")
    assert rows == ROWS and mean == pytest.approx((1 / (1 + np.exp(-np.abs(x) / 4))).mean(), abs=1e-4)
