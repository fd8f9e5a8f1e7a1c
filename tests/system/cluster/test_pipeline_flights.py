"""The whole pipeline on a sample of the flights: results, serving without this project, kills at any moment, bad input."""

import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.core.exit_codes import NOT_MET
from tests.support.flights_sample import STEPS, finish, fullpass, write_sample

pytestmark = pytest.mark.slow
# Kills a step; more for a longer run, e.g. FULLPASS_KILLS=5.
MAKEFILE = Path(__file__).parents[3] / "Makefile"
KILLS = int(os.environ.get("FULLPASS_KILLS", "1"))
SEED = int(os.environ.get("FULLPASS_SEED", "20"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a pipeline that ran to its end without interruption, and what it printed."""
    folder = tmp_path_factory.mktemp("flights")
    code, out, errors = finish(fullpass("run", write_sample(folder)))
    assert code == 0, errors
    return folder, out


def latest(folder, step):
    return (folder / "work" / step / "latest").resolve()


def record(folder, step):
    return json.loads((latest(folder, step) / "fullpass-step.json").read_text())


def test_every_step_prints_counts_that_add_up_and_seconds(finished):
    folder, out = finished
    rows = len((folder / "flights.csv").read_text().splitlines()) - 1
    without = sum(line.split(",")[8] == "NA" for line in (folder / "flights.csv").read_text().splitlines())
    assert f"{rows:,} rows in = {rows - without:,} out + {without:,} set aside (without arr_delay)" in out
    assert len(re.findall(r"rows in = .* s\n", out)) == len(STEPS)
    for step in STEPS:
        facts = record(folder, step)
        assert facts["rows_in"] == facts["rows_out"] + sum(facts["set_aside"].values())
    assert "carrier=UA" in out and "origin=JFK" in out and "auc" in out


def test_last_line_leads_to_the_page_about_the_run(finished):
    folder, out = finished
    page = folder / "work" / "report.html"
    assert out.splitlines()[-1] == f"report     {page.resolve().as_uri()}"
    text = page.read_text()
    assert "Blessed: the model met all thresholds" in text and "carrier=UA" in text and "not checked" in text
    assert len(text) < 3_000_000 and "BROKEN" not in text  # the exported version is held against its data and its graph


def test_all_formats_hold_the_same_rows(finished):
    from engine import Dataset

    folder, _ = finished
    names = ["carrier", "late", "distance"]
    for split in ("train", "eval"):
        tables = {}
        for format in ("parquet", "tfrecord", "tfrecord-gzip"):
            dataset = Dataset.open(str(latest(folder, "ingest") / format / split))
            rows = pa.Table.from_batches(list(dataset.read_batches(columns=names)))
            tables[format] = rows.cast(
                pa.schema([("carrier", pa.binary()), ("late", pa.int64()), ("distance", pa.int64())])
            )
        assert tables["tfrecord"].equals(tables["parquet"])
        assert tables["tfrecord-gzip"].equals(tables["parquet"])


def test_no_feature_is_known_only_after_landing(finished):
    folder, _ = finished
    names = pq.read_schema(next((latest(folder, "ingest") / "parquet" / "train").glob("*.parquet"))).names
    assert not {"arr_delay", "arr_time", "air_time"} & set(names)


def test_second_run_skips_every_step(finished):
    folder, _ = finished
    code, out, errors = finish(fullpass("run", folder / "pipeline.toml", "--dry-run"))
    assert (code, errors) == (0, "")
    assert out.count("skip  finished") == len(STEPS)


def test_blessed_model_is_pushed_once(finished):
    folder, _ = finished
    assert [p.name for p in (folder / "served").iterdir() if p.name.isdigit()] == ["1"]
    code, out, errors = finish(fullpass("run", folder / "pipeline.toml", "--from", "push"))
    assert code == 0, errors
    assert [p.name for p in (folder / "served").iterdir() if p.name.isdigit()] == ["1"]
    assert out.count(" skipped, ") == len(STEPS) - 1


def test_model_below_its_thresholds_is_not_pushed(finished):
    folder, _ = finished
    code, out, errors = finish(
        fullpass("run", folder / "pipeline.toml", "--set", "evaluate.thresholds.auc=0.999", "--set", "push.to=other")
    )
    assert code == NOT_MET
    # A verdict, not an error of the run.
    last = errors.strip().splitlines()[-1]
    assert last.startswith("fullpass: push: ") and "is not blessed: auc of all rows" in last
    assert "0.999" in out
    assert not (folder / "other" / "1").exists()


def _save_better_for_one(model, out, carrier):
    """Saves a model that answers like another, but for one carrier, of which it knows how late each flight was."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(model))
    answer = loaded.signatures["raw_features"]

    @tf.function
    def knowing(late, **raw):
        ((name, values),) = answer(**raw).items()
        known = tf.reshape(0.01 + 0.98 * tf.cast(late, values.dtype), tf.shape(values))
        return {name: tf.where(tf.reshape(raw["carrier"] == carrier, tf.shape(values)), known, values)}

    module = tf.Module()
    module.loaded = loaded
    late = tf.TensorSpec([None], tf.int64, name="late")
    signature = knowing.get_concrete_function(late=late, **answer.structured_input_signature[1])
    tf.saved_model.save(module, str(out), signatures={"raw_features": signature})


def test_model_worse_than_the_served_one_for_one_carrier_is_refused_and_the_carrier_named(finished, tmp_path):
    folder, _ = finished
    _save_better_for_one(latest(folder, "export") / "model" / "1", tmp_path / "served", "UA")
    bounds = '{min_change=-0.02, slices=[["carrier"]], overall=false, min_rows=100}'
    settings = {"evaluate.baseline": tmp_path / "served", "evaluate.thresholds.auc": bounds, "push.to": "other"}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    code, out, errors = finish(fullpass("run", folder / "pipeline.toml", *words))
    assert code == NOT_MET, errors
    failures = json.loads((latest(folder, "evaluate") / "evaluation.json").read_text())["failures"]
    assert len(failures) == 1 and failures[0].startswith("auc of carrier=UA changed by -0.")
    assert f"is not blessed: {failures[0]}" in errors and out.count("carrier=UA changed") == 1
    assert not (folder / "other" / "1").exists() and out.count(" skipped, ") == len(STEPS) - 2


def test_a_served_answer_ends_the_demo(finished):
    import tensorflow as tf

    from trainers.serving.server.check import first_row

    folder, _ = finished
    words = next(line for line in MAKEFILE.read_text().splitlines() if "fullpass serve" in line).split()[1:]
    assert words[:2] == ["serve", "runs/flights/export/latest/model"]
    model = folder / "work" / words[1].removeprefix("runs/flights/")
    code, out, errors = finish(fullpass("serve", model, *words[2:]))  # it ends by itself
    assert code == 0, errors
    line, answer = out.strip().splitlines()
    assert line.startswith("$ curl -d ") and "/v1/models/flights:" in line
    loaded = tf.saved_model.load(str(model / "1"))
    (expected,) = loaded.signatures["serving_default"](examples=tf.constant([first_row(model / "1")])).values()
    assert json.loads(answer)["results"] == pytest.approx(np.ravel(expected).tolist(), abs=1e-6)


PLAIN = """
import glob, sys
import numpy as np, tensorflow as tf
model, pattern, out = sys.argv[1:]
serve = tf.saved_model.load(model).signatures["serving_default"]
answers = []
for examples in tf.data.TFRecordDataset(sorted(glob.glob(pattern))).batch(2000):
    [probabilities] = serve(examples=examples).values()
    answers.append(np.ravel(probabilities))
np.save(out, np.concatenate(answers))
ours = [n for n in sys.modules if n.split(".")[0] in ("engine", "transforms", "trainers", "cluster")]
assert not ours, ours
"""


def test_exported_model_in_plain_tensorflow_answers_as_the_trainer_did(finished, tmp_path):
    from cluster.pipeline import load_pipeline
    from cluster.user_code.module import user_function
    from engine import Dataset
    from trainers import Trainer

    folder, _ = finished
    (tmp_path / "plain.py").write_text(PLAIN)
    model = next(p for p in (latest(folder, "export") / "model").iterdir() if p.name.isdigit())
    shards = latest(folder, "ingest") / "tfrecord" / "train" / "*.tfrecord"
    subprocess.run(
        [sys.executable, "-I", tmp_path / "plain.py", model, shards, tmp_path / "served.npy"], cwd=tmp_path, check=True
    )
    served = np.load(tmp_path / "served.npy")

    pipeline = load_pipeline(folder / "pipeline.toml")
    train, evaluation = (Dataset.open(str(latest(folder, "transform") / s)) for s in ("train", "eval"))
    trainer = Trainer(
        dataclasses.replace(pipeline.train, directory=str(latest(folder, "train") / "run"), label="late").trainer(),
        user_function(pipeline.module, "build_model"),
        train,
        eval=evaluation,
        transform_graph=str(latest(folder, "analyze") / "graph"),
    )
    trained = trainer.fit().model  # the training is finished: this gives its model back
    files = sorted((latest(folder, "transform") / "train").glob("*.parquet"))
    table = {name: np.concatenate([pq.read_table(f)[name].to_numpy() for f in files]) for name in train.schema.names}
    features = {name: table[name] for name in trained.input_names} if hasattr(trained, "input_names") else table
    expected = np.ravel(trained.predict({k: v for k, v in features.items() if k != "late"}, batch_size=2000, verbose=0))
    assert len(served) == len(expected) >= 10_000
    np.testing.assert_allclose(served, expected, rtol=0, atol=1e-6)


def _final(folder):
    """What a pipeline is for: every transformed row, the model's weights through its metrics, and the counts."""
    files = sorted((latest(folder, "transform")).rglob("*.parquet"))
    rows = {str(f.relative_to(latest(folder, "transform"))): pq.read_table(f) for f in files}
    facts = {step: record(folder, step) for step in STEPS}
    counts = {step: (f["rows_in"], f["rows_out"], f["set_aside"]) for step, f in facts.items()}
    return rows, counts, facts["evaluate"]["info"]["overall"], facts["train"]["info"]["steps"]


def _kill_in(pipeline, step, moment):
    """Runs the pipeline and kills it with SIGKILL so many seconds after the step began; returns whether it was in time."""
    process = fullpass("run", pipeline, start_new_session=True)
    drain = threading.Thread(target=process.stderr.read, daemon=True)
    drain.start()
    for line in process.stdout:
        if line.startswith(f"{step} ") and " runs " in line:
            break
    killer = threading.Timer(moment, os.killpg, (process.pid, signal.SIGKILL))
    killer.start()
    process.stdout.read()
    process.wait(timeout=300)
    killer.cancel()
    drain.join(5)
    return process.returncode == -signal.SIGKILL


@pytest.mark.timeout(1800)  # eight processes that import TensorFlow, on a machine that may be busy
def test_pipeline_killed_at_random_moments_of_every_step_ends_the_same(finished, tmp_path):
    reference, _ = finished
    chance = random.Random(SEED)
    pipeline = write_sample(tmp_path / "killed")
    folder = pipeline.parent
    for step in STEPS:
        for _ in range(KILLS):
            moment = chance.uniform(0, 0.9) * record(reference, step)["seconds"]
            in_time = _kill_in(pipeline, step, moment)
            print(f"{step}: killed after {moment:.2f} s: {in_time}")
            if not in_time:
                break
    code, _, errors = finish(fullpass("run", pipeline))
    assert code == 0, errors
    rows, counts, metrics, steps = _final(folder)
    expected_rows, expected_counts, expected_metrics, expected_steps = _final(reference)
    assert rows.keys() == expected_rows.keys()
    for name, table in rows.items():
        assert table.equals(expected_rows[name]), name
    assert (counts, steps) == (expected_counts, expected_steps)
    for name, value in expected_metrics.items():
        assert metrics[name] == pytest.approx(value, abs=1e-5), name
    assert not list(Path(folder / "work").glob("*/.*.tmp-*"))
    assert len([p for p in (folder / "served").iterdir() if p.name.isdigit()]) == 1, (
        "a killed push wastes a number at most"
    )
