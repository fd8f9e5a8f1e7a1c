"""TensorFlow Model Analysis: its metrics, its configuration and its files. Only this room imports it."""
