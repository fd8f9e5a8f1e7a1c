"""The transform graph on disk, as TensorFlow Transform reads it."""
