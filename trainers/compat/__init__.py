"""The one door to private names of TensorFlow and Keras: each module wraps one library and checks the names at import."""
