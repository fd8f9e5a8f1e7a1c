"""A few raw rows that travel with a model: warm-up requests, and a golden set with what the transform made of the same rows."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.core.errors import ConfigError

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["GOLDEN_EXAMPLES", "GOLDEN_FEATURES", "WARMUP_FILE", "sample_examples", "write_samples", "write_warmup"]

_LOG = logging.getLogger(__name__)
WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"  # TensorFlow Serving's name and format
GOLDEN_EXAMPLES = "assets.extra/golden/examples.tfrecord"
GOLDEN_FEATURES = "assets.extra/golden/transformed.parquet"


def sample_examples(data: Dataset, rows: int) -> list[bytes]:
    """Returns the first rows of raw data as serialized tf.Examples.

    Args:
        data: raw `engine.Dataset`.
        rows: most that are taken.

    Raises:
        DataError: the data cannot be read.
    """
    import tensorflow as tf

    from engine import write_batches

    with tempfile.TemporaryDirectory(prefix="fullpass-samples-") as folder:
        shard, left, batches = str(Path(folder, "rows.tfrecord")), rows, []
        for batch in data.read_batches(batch_rows=max(rows, 1)):
            batches.append(batch.slice(0, left))
            left -= batches[-1].num_rows
            if left <= 0:
                break
        if not batches:
            return []
        write_batches(iter(batches), batches[0].schema, shard, "tfrecord", None)
        return [bytes(record) for record in tf.data.TFRecordDataset(shard).as_numpy_iterator()]


def write_samples(
    version: Path,
    name: str,
    examples: Sequence[bytes],
    transform_graph: str | os.PathLike[str] | None,
    raw_feature_spec: Mapping[str, Any],
) -> None:
    """Writes the warm-up requests and, where there is a transform graph, the golden set into a model's directory.

    The golden set's features come from the full pass that makes training data, not from the graph inside the model, so a server
    that compares them finds any difference between the two.

    Args:
        version: the directory, before it is put in its place.
        name: of the model.
        examples: raw rows; none writes nothing.
        transform_graph: of the training, or None.
        raw_feature_spec: features of the raw rows that the graph takes.

    Raises:
        ConfigError: the transform graph cannot be run on the rows.
        DataError: a row does not fit the features.
    """
    if not examples:
        return
    try:
        write_warmup(version, name, examples)
    except ModuleNotFoundError:
        _LOG.warning("no warm-up requests are written with the model: they need `pip install fullpass[serve]`")
    if transform_graph is not None:
        _write_golden(version, examples, transform_graph, raw_feature_spec)


def _write_golden(
    version: Path, examples: Sequence[bytes], transform_graph: str | os.PathLike[str], spec: Mapping[str, Any]
) -> None:
    import tensorflow as tf

    from engine import Dataset
    from transforms import transform

    kept = version / GOLDEN_EXAMPLES
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(kept)) as writer:
        for example in examples:
            writer.write(example)
    with tempfile.TemporaryDirectory(prefix="fullpass-golden-") as folder:
        # One shard and one worker: one batch of all rows, as the server runs them. Of another batch the last bit of a
        # transcendental function may differ.
        out = Path(folder, "out")
        raw = Dataset.open(str(kept), feature_spec=dict(spec))
        transform(raw, transform_graph, out, num_shards=1, runner_options=["--workers=1"])
        shards = sorted(out.glob("*.parquet"))
        if len(shards) != 1:
            raise ConfigError(f"the golden set was transformed into {len(shards)} shards; expected one")
        (version / GOLDEN_FEATURES).write_bytes(shards[0].read_bytes())


def write_warmup(version: Path, name: str, examples: Iterable[bytes], batch_sizes: Iterable[int] = (1, 32)) -> Path:
    """Writes warm-up requests of serialized examples into a version, for `fullpass serve` and for TensorFlow Serving.

    Args:
        version: directory of the version, before it is put in its place.
        name: of the model; a server asks its own model whatever it is called.
        examples: a few real rows.
        batch_sizes: one request of each size is written, rows repeated where there are fewer.

    Returns:
        the file.

    Raises:
        ModuleNotFoundError: tensorflow-serving-api is not installed.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    rows = list(examples)
    file = version / WARMUP_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for size in batch_sizes if rows else ():
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name, request.model_spec.signature_name = name, "serving_default"
            batch = [rows[i % len(rows)] for i in range(size)]
            request.inputs["examples"].CopyFrom(tf.make_tensor_proto(batch, tf.string, [size]))
            writer.write(log.SerializeToString())
    return file
