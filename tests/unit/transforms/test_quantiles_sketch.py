"""Quantiles beyond what is kept exactly: a state that was encoded holds what it held before."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from tensorflow_transform.analyzers import QuantilesCombiner

from transforms.accumulators.numeric import quantiles
from transforms.accumulators.numeric.quantiles import QuantilesAccumulator


def test_encoded_sketches_merge_to_the_quantiles_of_all_values(monkeypatch):
    monkeypatch.setattr(quantiles, "EXACT_VALUES", 1000)
    combiner = QuantilesCombiner(num_quantiles=10, epsilon=0.01, bucket_numpy_dtype=np.float32)
    accumulator = QuantilesAccumulator(combiner, weighted=False)
    values = np.random.default_rng(0).normal(size=40_000).astype(np.float32)
    parts = [
        accumulator.encode(accumulator.update(accumulator.create(), [pa.array(piece)]))[0]
        for piece in np.split(values, 4)
    ]
    merged = accumulator.encode(accumulator.merge([accumulator.decode(part) for part in parts]))[0]
    (boundaries,) = accumulator.finish([accumulator.decode(merged)])
    ranks = np.searchsorted(np.sort(values), boundaries.reshape(-1)) / len(values)
    assert np.abs(ranks - np.arange(1, 10) / 10).max() <= 0.01
