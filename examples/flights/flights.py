"""Will the flight that just left the gate arrive more than 15 minutes late?

Known at that moment: the schedule, how late it left, the plane, and the weather at the origin in the scheduled hour.
When it arrived, landed or how long it flew is not known and is no feature; arr_delay makes the label and nothing else.
"""

from __future__ import annotations

import tensorflow as tf
import tensorflow_transform as tft

LATE_MINUTES = 15
TRACK_MILES_PER_MINUTE = 8.0
BUCKETS = {"delay": 40, "departure": 24}

KEPT = (
    "month",
    "day",
    "dep_time",
    "sched_dep_time",
    "dep_delay",
    "sched_arr_time",
    "carrier",
    "origin",
    "dest",
    "distance",
)
PLANE = ("year", "manufacturer", "model", "seats")
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")


def join(batch, tables):
    """Returns a batch of flights with their planes, the weather and the label `late`, in the order of the flights."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = {name: batch.column(name) for name in KEPT}
    columns |= {
        f"plane_{name}": column for name, column in look_up(batch, tables["planes"], ["tailnum"], PLANE).items()
    }
    columns |= look_up(batch, tables["weather"], ["origin", "time_hour"], WEATHER)
    late = pc.greater(batch.column("arr_delay"), LATE_MINUTES)
    return pa.RecordBatch.from_pydict({**columns, "late": pc.cast(late, pa.int64())})


def look_up(batch, table, keys, wanted):
    """Returns the wanted columns of the row of `table` with the same keys for each row of the batch, null where none has."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def key(of):
        parts = [pc.cast(of[name], pa.string()) for name in keys]
        joined = pc.binary_join_element_wise(*parts, "|")
        return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined

    rows = pc.index_in(key({name: batch.column(name) for name in keys}), key({name: table[name] for name in keys}))
    return {name: pc.take(table[name], rows).combine_chunks() for name in wanted}


def preprocessing_fn(inputs):
    """Returns the features, all made with TensorFlow Transform."""
    depart, delay = _minutes(inputs["sched_dep_time"]), tf.cast(inputs["dep_delay"], tf.float32)
    scheduled = tf.math.floormod(_minutes(inputs["sched_arr_time"]) - depart, 1440.0)
    distance = tf.cast(inputs["distance"], tf.float32)
    hour = tf.strings.as_string(inputs["sched_dep_time"] // 100)
    day_of_year = tf.cast(inputs["month"] * 31 + inputs["day"], tf.float32)
    numbers = {
        "delay": delay,
        "log_delay": tf.math.log1p(tf.maximum(delay, 0.0)),
        "distance": distance,
        "scheduled_minutes": scheduled,
        # A schedule with time to spare makes up for a late start.
        "slack": scheduled - distance / TRACK_MILES_PER_MINUTE,
        "departure": depart,
        "day_of_year": day_of_year,
        "plane_year": inputs["plane_year"],
        "seats": inputs["plane_seats"],
        **{name: inputs[name] for name in WEATHER if name != "wind_dir"},
    }
    # The score is that of the values that are there; where one is missing, the mean (0) stands in.
    outputs = {
        f"{name}_z": tf.clip_by_value(_dense(tft.scale_to_z_score(value), 0.0), -6.0, 6.0)
        for name, value in numbers.items()
    }
    for name, count in BUCKETS.items():
        outputs[f"{name}_bucket"] = tft.bucketize(numbers[name], num_buckets=count)
    route = tf.strings.join([inputs["origin"], inputs["dest"]], "-")
    words = {
        "carrier": inputs["carrier"],
        "origin": inputs["origin"],
        "dest": inputs["dest"],
        "month": tf.strings.as_string(inputs["month"]),
        "hour": hour,
        "plane_model": _dense(inputs["plane_model"], ""),
        "wind": tf.strings.as_string(_dense(inputs["wind_dir"], -1)),
        "carrier_route": tf.strings.join([inputs["carrier"], route], "-"),
        "route_hour": tf.strings.join([route, hour], "-"),
    }
    for name, value in words.items():
        outputs[f"{name}_id"] = tft.compute_and_apply_vocabulary(
            value, frequency_threshold=20, num_oov_buckets=1, vocab_filename=name
        )
    outputs["late"] = inputs["late"]
    return outputs


def build_model(context):
    """Returns a compiled Keras model: an embedding for each vocabulary and bucket, then two dense layers."""
    import keras

    settings = {"units": [256, 128], "learning_rate": 2e-3, "embedding": 16, **context.hyperparameters}
    inputs, parts = {}, []
    for name, feature in sorted(context.feature_spec.items()):
        shape = tuple(feature.shape)
        inputs[name] = keras.Input(shape, dtype=feature.dtype.name, name=name)
        value = keras.layers.Reshape((1,))(inputs[name]) if shape == () else inputs[name]
        if feature.dtype == tf.int64:
            size = _size(context, name)
            width = min(settings["embedding"], 2 + int(size**0.5))
            parts.append(keras.layers.Flatten()(keras.layers.Embedding(size, width, name=f"{name}_embedding")(value)))
        else:
            parts.append(value)
    hidden = keras.layers.Concatenate()(parts)
    for units in settings["units"]:
        hidden = keras.layers.Dense(units, "relu")(hidden)
    late = keras.layers.Dense(1, "sigmoid", name="late")(hidden)
    model = keras.Model(inputs, late, name="flights")
    schedule = keras.optimizers.schedules.CosineDecay(settings["learning_rate"], context.steps or 1000)
    model.compile(keras.optimizers.Adam(schedule), loss="binary_crossentropy", metrics=[keras.metrics.AUC(name="auc")])
    return model


def _size(context, name):
    if name.endswith("_bucket"):
        return BUCKETS[name.removesuffix("_bucket")]
    return context.transform_output.vocabulary_size_by_name(name.removesuffix("_id")) + 1


def _minutes(clock):
    """Minutes since midnight of a time written as 1745."""
    return tf.cast(clock // 100 * 60 + clock % 100, tf.float32)


def _dense(value, missing):
    """A feature that may be missing, with a value in its place."""
    if isinstance(value, tf.sparse.SparseTensor):
        shape = tf.stack([value.dense_shape[0], 1])
        value = tf.squeeze(tf.sparse.to_dense(tf.sparse.SparseTensor(value.indices, value.values, shape), missing), 1)
    return value
