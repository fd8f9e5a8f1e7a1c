"""What a TFX user has: a preprocessing_fn for tf.Transform and a Keras 3 model."""

import keras
import tensorflow as tf
import tensorflow_transform as tft

WORDS = ("carrier", "origin", "dest")


def preprocessing_fn(inputs):
    outputs = {}
    for name in WORDS:
        outputs[f"{name}_id"] = tft.compute_and_apply_vocabulary(inputs[name], vocab_filename=name, num_oov_buckets=1)
    outputs["dep_delay_z"] = tft.scale_to_z_score(tf.cast(inputs["dep_delay"], tf.float32))
    outputs["distance_bucket"] = tft.bucketize(inputs["distance"], 10)
    outputs["hour"] = tf.cast(inputs["hour"], tf.float32) / 24.0
    outputs["late"] = tf.cast(inputs["arr_delay"] > 15, tf.int64)
    return outputs


def build_model(context):
    inputs, parts = {}, []
    for name, feature in sorted(context.feature_spec.items()):
        inputs[name] = keras.Input(tuple(feature.shape), name=name, dtype=feature.dtype.name)
        flat = keras.layers.Flatten()(inputs[name])
        if name.removesuffix("_id") in WORDS:
            size = context.transform_output.vocabulary_size_by_name(name.removesuffix("_id")) + 1
            flat = keras.layers.Flatten()(keras.layers.Embedding(size, 4)(flat))
        elif name == "distance_bucket":
            flat = keras.layers.Flatten()(keras.layers.Embedding(10, 2)(flat))
        parts.append(flat)
    hidden = keras.layers.Dense(context.hyperparameters.get("units", 32), activation="relu")(
        keras.layers.Concatenate()(parts)
    )
    hidden = keras.layers.BatchNormalization()(hidden)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=[keras.metrics.AUC(name="auc")])
    return model
