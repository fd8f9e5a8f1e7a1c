"""A run in a real MLflow server."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import urllib.request

import pytest

from engine.machine.ports import free_ports
from tests.support.eventually import eventually
from tests.unit.trainers.test_trackers import fit


@pytest.fixture
def mlflow_server(tmp_path):
    pytest.importorskip("mlflow.server", reason="the MLflow server is not installed: pip install mlflow")

    (port,) = free_ports(1)
    store = f"sqlite:///{tmp_path}/mlflow.db"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--port",
        str(port),
        "--backend-store-uri",
        store,
        "--workers",
        "1",
    ]
    with open(tmp_path / "server.log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    uri = f"http://127.0.0.1:{port}"
    try:

        def ended():
            return server.poll() is not None and ((tmp_path / "server.log").read_text()[-3000:] or "its end")

        def answers():
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{uri}/health", timeout=1).close()
                return True

        eventually(answers, "the server answers", 300, poll_s=0.1, unless=ended)
        yield uri
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.slow
def test_mlflow_server_has_settings_and_metrics_of_one_run_over_a_restart(tmp_path, mlflow_server):
    from mlflow.tracking import MlflowClient

    trackers = {"mlflow": {"uri": mlflow_server, "experiment": "e", "run_name": "n", "tags": {"team": "ads"}}}
    fit(tmp_path / "run", 1, trackers)
    result = fit(tmp_path / "run", 2, trackers)
    client = MlflowClient(tracking_uri=mlflow_server)
    (run,) = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == "n" and run.data.tags["team"] == "ads"
    assert run.data.params["global_batch_size"] == "32" and run.data.params["checkpoint.keep"] == "3"
    history = client.get_metric_history(run.info.run_id, "eval/loss")
    assert [(metric.step, metric.value) for metric in history] == [(h["step"], h["loss"]) for h in result.history]
    assert run.data.metrics["train/loss"] == result.metrics["loss"]
