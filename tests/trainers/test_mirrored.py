"""Mirrored on two logical devices: the same global batches, the same curve as one device."""

from __future__ import annotations

import numpy as np

from tests.trainers.models import classification_columns
from tests.trainers.test_features import config, dense_keras3
from trainers import ArrayDataset, Trainer
from trainers.audit import read_audit


def test_mirrored_two_devices_equal_one(tmp_path):
    data = ArrayDataset(classification_columns())
    options = {"logical_devices": 2}
    mirrored = config(tmp_path / "two", strategy="mirrored", strategy_options=options, audit=True)
    two = Trainer(mirrored, dense_keras3, data, eval=data).fit()
    one = Trainer(config(tmp_path / "one", audit=True), dense_keras3, data, eval=data).fit()
    ours, theirs = read_audit(str(tmp_path / "two")), read_audit(str(tmp_path / "one"))
    assert all(np.array_equal(ours[step], theirs[step]) for step in range(40))
    np.testing.assert_allclose([h["loss"] for h in two.history], [h["loss"] for h in one.history], rtol=1e-4)
