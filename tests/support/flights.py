"""Real flights for the tests of export, evaluation and push: raw shards, a transform graph, a trained Keras 3 model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.nycflights import flights

COLUMNS = ("carrier", "origin", "dest", "distance", "dep_delay", "hour", "arr_delay")
LABEL = "late"


def flights_table(rows: int, seed: int = 3) -> pa.Table:
    """Returns `rows` flights drawn from the year 2013 that have an arrival; some have no `dest`, for the sake of the test."""
    frame = flights()[list(COLUMNS)].dropna(subset=["arr_delay", "dep_delay"])
    frame = frame.sample(rows, random_state=seed)
    dest = frame["dest"].to_numpy().astype(object)
    dest[np.random.default_rng(seed).uniform(size=rows) < 0.05] = None
    return pa.table(
        {
            "carrier": pa.array(frame["carrier"], pa.binary()),
            "origin": pa.array(frame["origin"], pa.binary()),
            "dest": pa.array(dest, pa.binary()),
            "distance": pa.array(frame["distance"].to_numpy(np.float32)),
            "dep_delay": pa.array(frame["dep_delay"].to_numpy(np.float32)),
            "hour": pa.array(frame["hour"].to_numpy(np.int64)),
            "arr_delay": pa.array(frame["arr_delay"].to_numpy(np.float32)),
        },
        schema=pa.schema(
            [
                pa.field("carrier", pa.binary(), nullable=False),
                pa.field("origin", pa.binary(), nullable=False),
                pa.field("dest", pa.binary()),
                pa.field("distance", pa.float32(), nullable=False),
                pa.field("dep_delay", pa.float32(), nullable=False),
                pa.field("hour", pa.int64(), nullable=False),
                pa.field("arr_delay", pa.float32(), nullable=False),
            ]
        ),
    )


def preprocessing_fn(inputs):
    """What a TFX user writes: a z-score, buckets, two vocabularies and a label from a column nobody has when serving."""
    import tensorflow as tf
    import tensorflow_transform as tft

    dest = tf.sparse.to_dense(
        tf.SparseTensor(inputs["dest"].indices, inputs["dest"].values, [inputs["dest"].dense_shape[0], 1]),
        default_value=b"",
    )
    return {
        "dep_delay_z": tft.scale_to_z_score(inputs["dep_delay"]),
        "distance_bucket": tft.bucketize(inputs["distance"], 8),
        "hour": tf.cast(inputs["hour"], tf.float32) / 24.0,
        "carrier_id": tft.compute_and_apply_vocabulary(inputs["carrier"], vocab_filename="carrier", num_oov_buckets=1),
        "dest_id": tft.compute_and_apply_vocabulary(dest[:, 0], vocab_filename="dest", num_oov_buckets=1),
        "late": tf.cast(inputs["arr_delay"] > 15.0, tf.int64),
    }


def build_model(context: Any) -> Any:
    """A small model with embeddings, a BatchNorm and a dropout."""
    import keras

    sizes = {"carrier_id": 20, "dest_id": 120, "distance_bucket": 8}
    inputs = {
        name: keras.Input((), name=name, dtype="int64" if name in sizes else "float32")
        for name in sorted(context.feature_spec)
    }
    parts = []
    for name, tensor in inputs.items():
        if name in sizes:
            parts.append(keras.layers.Embedding(sizes[name], 4)(tensor))
        else:
            parts.append(keras.layers.Reshape((1,))(tensor))
    hidden = keras.layers.Concatenate()(parts)
    hidden = keras.layers.Dense(16, activation="relu")(hidden)
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.Dropout(0.1)(hidden)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden), name="late_flights")
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="binary_crossentropy")
    return model


@dataclasses.dataclass
class Flights:
    """Data, graph and a trained model in one directory."""

    directory: Path
    table: pa.Table
    raw: Any
    graph: str
    model: Any
    transformed: dict[str, np.ndarray]

    @property
    def spec(self) -> dict[str, Any]:
        """Raw feature spec."""
        return self.raw.feature_spec()


def make_flights(directory: Path, rows: int = 12000) -> Flights:
    """Makes everything: raw Parquet shards, our own passes over them, and a model trained for a moment."""
    import keras
    import tensorflow_transform as tft

    from engine import Dataset
    from transforms import analyze, transform

    table = flights_table(rows)
    (directory / "raw").mkdir()
    for i in range(2):
        half = table.slice(i * rows // 2, rows // 2)
        pq.write_table(half, directory / "raw" / f"part-{i}.parquet", row_group_size=4096, write_page_checksum=True)
    raw = Dataset.open(directory / "raw", feature_spec=table.schema)
    graph = str(directory / "graph")
    analyze(raw, preprocessing_fn, graph)
    transform(raw, graph, str(directory / "transformed"), format="parquet", num_shards=2)
    columns = pa.Table.from_batches(Dataset.open(directory / "transformed").read_batches())
    transformed = {name: columns[name].to_numpy() for name in columns.column_names}
    spec = tft.TFTransformOutput(graph).transformed_feature_spec()
    label = spec.pop(LABEL)
    keras.utils.set_random_seed(1)
    from trainers.models.context import ModelContext

    model = build_model(ModelContext(feature_spec=spec, label_spec={LABEL: label}))
    features = {name: transformed[name] for name in spec}
    model.fit(features, transformed[LABEL], batch_size=512, epochs=2, verbose=0)
    return Flights(directory, table, raw, graph, model, transformed)
