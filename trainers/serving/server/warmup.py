"""Requests that a version is asked before it takes over: those saved with it, else none but an empty one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainers.serving.server.signatures import Signature

__all__ = ["WARMUP_FILE", "warm_up", "write_warmup"]

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"  # TensorFlow Serving's name and format
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
    from tensorflow_serving.apis import prediction_log_pb2

    file = path / WARMUP_FILE
    if not file.is_file():
        return
    for number, record in enumerate(tf.data.TFRecordDataset(str(file)).as_numpy_iterator()):
        if number == _MOST:
            break
        log = prediction_log_pb2.PredictionLog.FromString(record)
        if log.HasField("predict_log"):
            request = log.predict_log.request
            tensors = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            yield request.model_spec.signature_name or "serving_default", tensors


def write_warmup(version: Path, model: str, examples: Iterable[bytes], batch_sizes: Iterable[int] = (1, 32)) -> Path:
    """Writes warm-up requests of serialized examples into a version, for this server and for TensorFlow Serving.

    Args:
        version: directory of the version, before it is put in its place.
        model: name under which it will be served.
        examples: a few real rows.
        batch_sizes: one request of each size is written, rows repeated where there are fewer.

    Returns:
        the file.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    rows = list(examples)
    file = version / WARMUP_FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for size in batch_sizes if rows else ():
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name, request.model_spec.signature_name = model, "serving_default"
            batch = [rows[i % len(rows)] for i in range(size)]
            request.inputs["examples"].CopyFrom(tf.make_tensor_proto(batch, tf.string, [size]))
            writer.write(log.SerializeToString())
    return file
