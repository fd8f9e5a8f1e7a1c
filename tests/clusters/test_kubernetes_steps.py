"""`fullpass submit` of each step, and of a whole pipeline, in pods on the flights: the results are this machine's."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster import Resources
from tests.clusters.kubernetes_fixtures import fullpass_job
from tests.support.flights_sample import STEPS, write_sample

# The first test of a session may have to build Kubernetes.
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(3000)]

# The pipeline's own training is the oracle of one worker; two in pods are compared with two on this machine.
TRAINING = ("--label", "late", "--epochs", "1", "--batch-size", "256", "--param", "units=[16]", "--set", "seed=7")


# TensorFlow cuts an operation's rows by its threads, and the rows left at the end of a cut may differ in their last bit: where
# predictions are compared, this machine takes as many threads as a pod of 0.9 cores.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")


def fullpass(*words: object, variables: Mapping[str, str] | None = None) -> str:
    """Returns what `fullpass WORDS` printed to standard output; it must succeed."""
    command = [sys.executable, "-m", "cluster.cli.main", *map(str, words)]
    env = {**os.environ, **(variables or {})}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=env)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A sample of the flights with its module and pipeline; pods see it under the same path."""
    folder = tmp_path_factory.mktemp("steps")
    os.environ["FULLPASS_STATE_DIR"] = str(folder / "state")
    write_sample(folder)
    yield folder
    del os.environ["FULLPASS_STATE_DIR"]


@pytest.fixture(scope="module")
def here(folder) -> Path:
    """Results of the pipeline on this machine: the oracle of all that pods do."""
    fullpass("run", folder / "pipeline.toml", "--work-dir", folder / "here")
    return folder / "here"


@pytest.fixture(scope="module")
def submit(kube, folder):
    """Submits a job to the cluster with the command line, follows it to its success and removes it."""
    base = folder / "base.json"
    base.write_text(
        fullpass_job(
            "base", folder, step="analyze", command=(), resources=Resources(cpu="900m", ephemeral_storage="512Mi")
        ).to_json()
    )

    def run(name: str, *flags: object, words: tuple[object, ...] = ()) -> str:
        where = ("--launcher", "kubernetes", "--kubeconfig", kube.kubeconfig)
        lines = fullpass("submit", *where, "--spec", base, "--name", name, *flags, "--follow", "--", *words)
        fullpass("cancel", name)
        return lines

    return run


def latest(work: Path, step: str) -> Path:
    return (work / step / "latest").resolve()


def files_of(folder: Path) -> dict[str, str]:
    """Returns the digest of each vocabulary file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("**/assets/*"))}


def rows_of(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])


def weights_of(training: Path) -> dict[str, bytes]:
    """Returns every tensor of the last checkpoint: the model's, the optimizer's."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(max((training / "checkpoints").glob("step-*")) / "tensors"))
    return {name: np.asarray(reader.get_tensor(name)).tobytes() for name in reader.get_variable_to_shape_map()}


def test_the_whole_pipeline_runs_in_a_pod(submit, folder, here):
    lines = submit("pipeline", "--pipeline", folder / "pipeline.toml", words=("--work-dir", folder / "pod"))
    assert all(f"[worker-0] {step}" in lines for step in STEPS), lines
    assert files_of(latest(folder / "pod", "analyze")) == files_of(latest(here, "analyze"))
    for split in ("train", "eval"):
        ours = rows_of(latest(here, "transform") / split)
        assert rows_of(latest(folder / "pod", "transform") / split).equals(ours)
    assert weights_of(latest(folder / "pod", "train") / "run") == weights_of(latest(here, "train") / "run")
    pushed = sorted(path.name for path in (folder / "served").iterdir() if path.name.isdigit())
    assert pushed == ["1", "2"]  # by this machine's run and by the pod's


@pytest.fixture(scope="module")
def out(folder) -> Path:
    """Where the steps of this module write, one after the other."""
    return folder / "out"


def test_analyze_and_transform(submit, folder, here, out):
    data, module = latest(here, "ingest") / "parquet", folder / "flights.py"
    words = (data / "train", "--module", module, "--out", out / "graph")
    said = submit("analyze", "--step", "analyze", words=words)
    assert "[worker-0] " in said and "records" in said
    assert files_of(out / "graph") == files_of(latest(here, "analyze"))
    words = (data / "train", "--graph", out / "graph", "--num-shards", "2", "--out", out / "train")
    submit("transform", "--step", "transform", words=words)
    assert rows_of(out / "train").equals(rows_of(latest(here, "transform") / "train"))


def test_two_workers_train_as_two_on_this_machine(submit, folder, here, out):
    common = (latest(here, "transform") / "train", "--graph", latest(here, "analyze") / "graph", *TRAINING)
    module = folder / "flights.py"
    fullpass("train", *common, "--module", module, "--workers", 2, "--out", folder / "two-here")
    flags = ("--step", "train", "--workers", 2, "--global-batch-size", 256, "--file", module)
    lines = submit("train", *flags, words=(*common, "--module", "/fullpass/files/flights.py", "--out", out / "two"))
    assert "[worker-1] " in lines
    said = [json.loads((run / "result.json").read_text()) for run in (folder / "two-here", out / "two")]
    for name in ("loss", "auc"):
        assert said[0]["metrics"][name] == said[1]["metrics"][name]
    assert weights_of(out / "two") == weights_of(folder / "two-here")


def test_export_and_evaluate(submit, folder, here, out):
    raw = latest(here, "ingest") / "parquet"
    graph = ("--graph", latest(here, "analyze") / "graph")
    words = (out / "two", "--module", folder / "flights.py", *graph, "--data", raw / "eval", "--out", out / "models")
    assert "checked on" in submit("export", "--step", "export", words=words)
    words = (raw / "eval", "--model", out / "models", "--label", "late", "--slice", "carrier")
    submit("evaluate", "--step", "evaluate", words=(*words, "--out", out / "evaluation.json"))
    fullpass("evaluate", *words, "--out", folder / "evaluation-here.json", variables=ONE_THREAD)
    said = [json.loads(path.read_text()) for path in (out / "evaluation.json", folder / "evaluation-here.json")]
    assert said[0]["overall"]["auc"] > 0.5 and said[0] == said[1]


def test_a_step_that_cannot_run_says_why_and_is_not_tried_again(submit, folder, kubernetes_jobs):
    with pytest.raises(AssertionError, match="no-such-data") as error:
        submit("wrong", "--step", "verify", words=(folder / "no-such-data",))
    assert "wrong failed" in str(error.value)
    assert kubernetes_jobs.status("wrong").tasks[0].restarts == 0
