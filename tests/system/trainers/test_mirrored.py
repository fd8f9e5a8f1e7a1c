"""Mirrored on two logical devices: the same global batches, the same curve as one device."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.support.models import build_dense, classification_columns
from tests.unit.trainers.test_features import config
from trainers import ArrayDataset, Trainer
from trainers.loop.audit import read_audit


def compare(directory: str) -> None:
    tmp_path = Path(directory)
    data = ArrayDataset(classification_columns())
    options = {"logical_devices": 2}
    mirrored = config(tmp_path / "two", strategy="mirrored", strategy_options=options, audit=True)
    two = Trainer(mirrored, build_dense, data, eval=data).fit()
    one = Trainer(config(tmp_path / "one", audit=True), build_dense, data, eval=data).fit()
    ours, theirs = read_audit(str(tmp_path / "two")), read_audit(str(tmp_path / "one"))
    assert all(np.array_equal(ours[step], theirs[step]) for step in range(40))
    np.testing.assert_allclose([h["loss"] for h in two.history], [h["loss"] for h in one.history], rtol=1e-4)


def test_mirrored_two_devices_equal_one(tmp_path):
    # In a process of its own: logical devices can only be made before TensorFlow has computed anything.
    root = Path(__file__).parents[3]
    code = "import sys; from tests.system.trainers.test_mirrored import compare; compare(sys.argv[1])"
    env = {**os.environ, "PYTHONPATH": str(root)}
    words = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(words, env=env, cwd=root, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
