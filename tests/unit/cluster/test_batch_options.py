"""`--batch-rows` and `--memory` of the command line reach the passes."""

from __future__ import annotations

import textwrap

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli.main import main

ROWS = 300
MODULE = """
    import os

    import tensorflow as tf
    import tensorflow_transform as tft

    def note(x):
        with open(os.environ["NOTED_ROWS"], "a") as file:
            file.write(f"{x.shape[0]}\\n")
        return x

    def preprocessing_fn(inputs):
        x = tf.ensure_shape(tf.py_function(note, [inputs["x"]], tf.float32), [None])
        return {"x": tft.scale_by_min_max(x)}
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    data, module = tmp_path / "rows.parquet", tmp_path / "noting.py"
    pq.write_table(pa.table({"x": pa.array(range(ROWS), pa.float32())}), data)
    module.write_text(textwrap.dedent(MODULE))
    monkeypatch.setenv("NOTED_ROWS", str(tmp_path / "noted"))
    return data, module, tmp_path


def most_rows(tmp_path, *command) -> int:
    noted = tmp_path / "noted"
    noted.unlink(missing_ok=True)
    assert main([str(word) for word in command]) == 0
    return max(map(int, noted.read_text().split()))


def test_batch_rows_bounds_the_batches_of_both_passes(files):
    data, module, out = files
    analyze = ("analyze", data, "--module", module, "--out", out / "graph", "--runner-option=--workers=1")
    transform = ("transform", data, "--graph", out / "graph", "--out", out / "shards", "--runner-option=--workers=1")
    for command in (analyze, transform):
        assert most_rows(out, *command) > 40 >= most_rows(out, *command, "--batch-rows", 40), command[0]


@pytest.mark.parametrize("command", ["analyze", "transform"])
def test_memory_is_a_size_and_large_enough(files, command, capsys):
    data, module, out = files
    words = {"analyze": ("--module", str(module)), "transform": ("--graph", str(out))}[command]
    for size in ("a lot", "1Mi"):
        assert main([command, str(data), *words, "--out", str(out / "new"), "--memory", size]) == 2
        assert "memory" in capsys.readouterr().err
