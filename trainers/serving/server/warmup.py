"""Requests that a version is asked before it takes over: those saved with it, else none but an empty one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainers.export.samples import WARMUP_FILE
from trainers.serving.server.signatures import Signature

__all__ = ["warm_up"]

_MOST = 1000  # TensorFlow Serving's limit


def warm_up(signatures: Mapping[str, Signature], path: Path) -> int:
    """Runs the saved requests of a version and returns how many there were.

    Memory is planned, functions are compiled, and a broken graph shows before a request meets it.

    Raises:
        Exception: a request that was saved with the version cannot be answered by it.
    """
    asked = 0
    for signature, tensors in _saved(path):
        if signature in signatures:
            arrays, _ = signatures[signature].checked(tensors, 1 << 20)
            signatures[signature].run(arrays)
            asked += 1
    default = signatures.get("serving_default")
    if not asked and default is not None and default.examples_input is not None:
        default.run({default.examples_input: np.empty(0, object)})
    return asked


def _saved(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    import tensorflow as tf

    file = path / WARMUP_FILE
    if not file.is_file():
        return
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError:  # a program with a LiveModel need not have what the server has: it asks the empty request
        return
    for number, record in enumerate(tf.data.TFRecordDataset(str(file)).as_numpy_iterator()):
        if number == _MOST:
            break
        log = prediction_log_pb2.PredictionLog.FromString(record)
        if log.HasField("predict_log"):
            request = log.predict_log.request
            tensors = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            yield request.model_spec.signature_name or "serving_default", tensors
