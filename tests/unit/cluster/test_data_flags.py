"""--filter and --feature-spec on every command that reads data, each counted by what the command itself says it read."""

from __future__ import annotations

import argparse
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli.main import build_parser, main

SCHEMA = 'feature { name: "%s" type: %s presence { min_fraction: 1 min_count: 1 } shape { } }\n'
MODULE = """
import tensorflow as tf

def preprocessing_fn(inputs):
    import tensorflow_transform as tft
    return {"x": tft.scale_to_0_1(inputs["x"]), "y": tf.cast(inputs["y"], tf.float32)}

def build_model(context):
    import keras
    one = keras.Input((1,), name="x")
    model = keras.Model({"x": one}, keras.layers.Dense(1)(one))
    model.compile(optimizer="sgd", loss="mse")
    return model
"""


def flags_of(command):
    parser, _ = build_parser(command)
    (commands,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {flag for action in commands.choices[command]._actions for flag in action.option_strings}


@pytest.mark.parametrize(
    "command",
    [
        "ingest",
        "inspect",
        "verify",
        "analyze",
        "transform",
        "train",
        "evaluate",
        "export",
        "predict",
        "lineage",
        "bench",
    ],
)
def test_every_command_that_reads_data_takes_them(command):
    assert {"--filter", "--feature-spec"} <= flags_of(command)


@pytest.fixture
def days(tmp_path):
    for day in (1, 2, 3):
        (tmp_path / f"data/day={day}").mkdir(parents=True)
        columns = {"x": [float(day)] * 40 * day, "y": [0] * 40 * day, "z": ["t"] * 40 * day}
        pq.write_table(pa.table(columns), tmp_path / f"data/day={day}/a.parquet")
    (tmp_path / "schema.pbtxt").write_text(SCHEMA % ("x", "FLOAT") + SCHEMA % ("y", "INT"))
    (tmp_path / "module.py").write_text(MODULE)
    return tmp_path


def said(capsys, *words):
    assert main(["-q", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_commands_read_what_passes(days, capsys):
    data, flags = days / "data", ["--filter", "day>=2", "--filter", "day != 3", "--feature-spec", days / "schema.pbtxt"]
    assert json.loads(said(capsys, "verify", data, *flags, "--json"))["num_records"] == 80
    manifest = json.loads(said(capsys, "inspect", data, *flags, "--json"))
    assert [entry["records"] for entry in manifest["files"]] == [80]
    assert json.loads(said(capsys, "ingest", data, *flags, "--out", days / "shards", "--json"))["num_records"] == 80
    module = ["--module", days / "module.py"]
    graph = ["analyze", data, *flags, *module, "--out", days / "graph", "--json"]
    assert json.loads(said(capsys, *graph))["records"] == 80
    made = ["transform", data, *flags, "--graph", days / "graph", "--out", days / "made", "--json"]
    assert json.loads(said(capsys, *made))["records"] == 80
    train = [
        "train",
        data,
        *flags,
        "--eval",
        data,
        "--eval-filter",
        "day=1",
        *module,
        "--label",
        "y",
        "--out",
        days / "run",
    ]
    result = json.loads(said(capsys, *train, "--epochs", "1", "--batch-size", "8", "--json").splitlines()[-1])
    assert result["steps"] == 10 and result["eval_metrics"]


def test_a_filter_that_cannot_be_is_one_line(days, capsys):
    for words, message in (
        (["--filter", "day"], "filter 'day': expected KEY"),
        (["--filter", "month=1"], "which are day"),
        (["--filter", "day>9"], "none of 3 files passes the filters ['day>9']"),
        (["--feature-spec", str(days / "gone.pbtxt")], "gone.pbtxt"),
    ):
        assert main(["-q", "inspect", str(days / "data"), *words]) == 2
        error = capsys.readouterr().err
        assert message in error and "internal error" not in error and "Traceback" not in error
