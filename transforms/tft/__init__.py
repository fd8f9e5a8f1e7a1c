"""What Fullpass takes of TensorFlow Transform's insides."""
