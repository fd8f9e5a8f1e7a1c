"""Predictions on runners: the same shards everywhere, every row once, and nothing where a row is bad."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import ConfigError, DataError, Dataset
from tests.support.scored_model import save_model
from trainers.serving.predict import predict
from trainers.serving.prediction_pass import prediction_rows

ROWS, FILES = 900, 3
ROOT = Path(__file__).parents[3]
RUNNERS = {"local": ["--workers=3"], "BundleBasedDirectRunner": []}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("scored"))


def _write(folder, change=lambda number, columns: None):
    folder.mkdir()
    rng = np.random.default_rng(4)
    for number in range(FILES):
        columns = {
            "x": rng.normal(3, 2, ROWS // FILES).astype(np.float32).tolist(),
            "s0": [f"token {value}" for value in rng.integers(0, 50, ROWS // FILES)],
            "key": (number * 1000 + np.arange(ROWS // FILES)).tolist(),
        }
        change(number, columns)
        table = pa.table({**columns, "x": pa.array(columns["x"], pa.float32())})
        pq.write_table(table, folder / f"rows-{number}.parquet", row_group_size=70)
    return Dataset.open(str(folder / "*.parquet"))


@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
def test_runners_write_the_same_shards_in_the_order_of_the_data(models, tmp_path, format):
    data = _write(tmp_path / "rows")
    settings = {"keep": ["key"], "format": format, "num_shards": 4, "batch_rows": 64}
    for runner, options in RUNNERS.items():
        report = predict(models, data, tmp_path / runner, runner=runner, runner_options=options, **settings)
        assert report.rows == report.manifest.num_records == ROWS and report.columns == ("key", "both", "late")
    local, beam = (sorted((tmp_path / runner).glob("data-*")) for runner in RUNNERS)
    assert len(local) == 4 and [path.read_bytes() for path in local] == [path.read_bytes() for path in beam]
    found = Dataset.open(tmp_path / "local")
    found.verify()
    table = pa.Table.from_batches(list(found.read_batches()))
    rows = pa.Table.from_batches(list(data.read_batches()))
    assert table["key"].to_pylist() == rows["key"].to_pylist()
    x, length = rows["x"].to_numpy(), np.array([len(text) for text in rows["s0"].to_pylist()])
    np.testing.assert_allclose(table["late"].to_numpy(), 1 / (1 + np.exp(3 - x - 0.1 * length)), rtol=1e-5)
    np.testing.assert_array_equal(np.array(table["both"].to_pylist(), np.float32), np.stack([x, -x], axis=1))


@pytest.mark.parametrize("runner", RUNNERS)
def test_bad_row_is_named_by_file_and_record_and_nothing_stays(models, tmp_path, runner):
    def lose(number, columns):
        if number == 1:
            columns["x"][217] = None

    data = _write(tmp_path / "rows", lose)
    with pytest.raises(DataError, match="column 'x' has a missing value") as raised:
        predict(models, data, tmp_path / "out", runner=runner, batch_rows=50, num_shards=7)
    assert raised.value.path.endswith("rows-1.parquet") and raised.value.record == 217
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


# Predicts, and stops for good when the first shard is written.
STOPS = """
import sys, time
import trainers.serving.prediction_pass as passes
from trainers.serving.predict import predict
write = passes.write_shard

def write_one(*arguments):
    write(*arguments)
    print("written", flush=True)
    time.sleep(3600)

passes.write_shard = write_one
predict(sys.argv[1], sys.argv[2], sys.argv[3], keep=["key"], num_shards=4)
"""


def test_killed_prediction_leaves_the_former_result_whole_and_the_next_run_begins_anew(models, tmp_path):
    data = _write(tmp_path / "rows")
    out = tmp_path / "out"

    def predicted(**settings):
        return predict(models, data, out, keep=["key"], num_shards=4, **settings).manifest

    former = predicted(outputs=["late"])
    arguments = [sys.executable, "-c", STOPS, str(models), str(tmp_path / "rows"), str(out)]
    process = subprocess.Popen(
        arguments,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "written\n", process.stderr.read()
        hidden = next(tmp_path.glob(".out.tmp-*/data-*")).parent
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    found = Dataset.open(out)
    found.verify()
    assert found.manifest.hash == former.hash and found.schema.names == ["key", "late"] and hidden.is_dir()
    manifest = predicted()
    assert manifest.num_records == ROWS and Dataset.open(out).schema.names == ["key", "both", "late"]
    assert {path.name for path in tmp_path.iterdir()} == {"rows", "out"}, "what the killed run left is gone"


def test_more_shards_than_rows_and_what_cannot_work(models, tmp_path):
    data = _write(tmp_path / "rows", lambda number, columns: [columns.update({k: v[:2]}) for k, v in columns.items()])
    report = predict(models, data, tmp_path / "out", keep=["key"], num_shards=9)
    assert report.rows == 6 and len(list((tmp_path / "out").glob("data-*"))) == 9
    assert Dataset.open(tmp_path / "out").num_records == 6
    for options, message in (
        ({"num_shards": 0}, "num_shards is 0; it takes 1 or more"),
        ({"batch_rows": 0}, "batch_rows is 0"),
        ({"compression": "brotli"}, "compression is 'brotli'"),
        ({"runner": "sparkle"}, "runner must be one of"),
        ({"runner_options": ["--worker=1"]}, "local runner takes --workers=N"),
    ):
        with pytest.raises(ConfigError, match=message):
            predict(models, data, tmp_path / "other", **options)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(2, np.complex64), r"output 'o' is \[2\] of complex64, which no column of predictions holds"),
        (np.zeros((2, 0), np.float32), r"output 'o' is \[2, 0\] of float32"),
        (np.array([np.zeros(1), np.zeros(2)], object), r"output 'o' is \[2\] of object"),  # ragged
    ],
)
def test_output_that_no_column_holds_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        prediction_rows(pa.record_batch({"key": [1, 2]}), {"o": values}, ["key"], ["o"])
