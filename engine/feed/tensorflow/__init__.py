"""The feed as a tf.data pipeline; the only TensorFlow in engine."""
