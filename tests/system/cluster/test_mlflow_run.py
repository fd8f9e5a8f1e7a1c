"""A finished run in a real MLflow server."""

from __future__ import annotations

import math
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli.main import main
from cluster.tracking import track
from engine.core.errors import ConfigError, FullpassError
from engine.machine.ports import free_ports
from tests.support.report_run import HOSTILE, finish_step, write_run
from tests.system.trainers.test_mlflow import mlflow_server

__all__ = ["mlflow_server"]


@pytest.mark.slow
def test_server_has_settings_metrics_curves_and_report_of_each_results_once(tmp_path, mlflow_server, capfd):
    from mlflow.tracking import MlflowClient

    run_dir = write_run(tmp_path / "clicks")
    assert main(["report", str(run_dir), "--out", str(tmp_path / "r.html"), "--track", f"mlflow:{mlflow_server}"]) == 0
    assert "already" in track(run_dir, f"mlflow:{mlflow_server}")
    client = MlflowClient(tracking_uri=mlflow_server)
    experiment = client.get_experiment_by_name("clicks").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED" and run.data.tags["fullpass.verdict"].startswith("Blessed")
    assert run.data.params["train.epochs"] == "3"
    assert run.data.params["input _script_window.hit_1_/script_"] == "f" * 64
    assert run.data.metrics["evaluate/auc"] == 0.9 and run.data.metrics["rows/ingest"] == 1000
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(m.step, m.value) for m in history][:2] == [(0, 1.0), (10, pytest.approx(1 / 11, rel=1e-6))]
    assert all(math.isfinite(m.value) for m in history)
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {"evaluation.json", "r.html"}
    finish_step(
        run_dir, "train", lambda directory: {}, before=["transform"], key="again", parts={f"train.{HOSTILE}": "5"}
    )
    track(run_dir, f"mlflow:{mlflow_server}")
    assert len(client.search_runs([experiment])) == 2
    capfd.readouterr()
    target = f"mlflow:{mlflow_server}"  # the file's and the command's: recorded once
    assert main(["run", str(write_pipeline(tmp_path, target)), "--track", target]) == 0
    assert capfd.readouterr().out.count("\ntrack ") == 1
    (run,) = client.search_runs([client.get_experiment_by_name("counted").experiment_id])
    assert run.data.metrics["rows/stats"] == 16


def write_pipeline(folder, target):
    """A pipeline that takes statistics alone, and is recorded there."""
    pq.write_table(pa.table({"x": range(8), "y": [0, 1] * 4}), folder / "rows.parquet")
    (folder / "counted.py").write_text("")
    head = f'[pipeline]\nname = "counted"\nmodule = "counted.py"\nlabel = "y"\ntrack = ["{target}"]\n'
    (folder / "counted.toml").write_text(f'{head}[data]\ntrain = "rows.parquet"\neval = "rows.parquet"\n[stats]\n')
    return folder / "counted.toml"


def test_target_of_the_file_that_is_none_is_refused_before_the_run(tmp_path, capsys):
    assert main(["run", str(write_pipeline(tmp_path, "wandb:x"))]) == 2
    assert "track: got 'wandb:x'" in capsys.readouterr().err and not (tmp_path / "runs").exists()


def test_server_that_is_not_there_is_said_with_the_run_finished(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'fullpass[mlflow]'")
    (port,) = free_ports(1)
    with pytest.raises(FullpassError, match="the run itself is finished"):
        track(write_run(tmp_path / "clicks", statistics=False), f"mlflow:http://127.0.0.1:{port}")


@pytest.mark.parametrize("target", ["wandb:x", "mlmd:", "", "http://host:5000"])
def test_target_that_is_none_is_refused_before_the_run(tmp_path, target, capsys):
    assert main(["run", str(tmp_path / "none.toml"), "--track", target]) == 2
    assert "track: got" in capsys.readouterr().err


def test_library_that_is_not_installed_is_said_with_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match="mlflow is not installed: pip install"):
        track(write_run(tmp_path / "clicks", statistics=False), "mlflow:http://127.0.0.1:1")
